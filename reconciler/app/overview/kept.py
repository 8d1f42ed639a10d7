"""Answers that are kept: a page must come at once, whatever the servers do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from reconciler.app.overview import patience
from reconciler.core.errors import Unusable
from reconciler.host.steady_clock import steady

#: Seconds for which an answer is current, at least and at most. In between, it is current for
#: this many seconds for each second that it took: views cost a server 2 % of its time.
CURRENT, LONGEST = 2.0, 60.0
PER_SECOND = 50.0
#: Seconds that an answer may be out of date before a view waits for a newer one as long as it may,
#: and the seconds for which a view waits otherwise.
OLD = 15.0
HURRY = 0.01
#: Seconds after which a question is given up, and may be asked again.
GIVE_UP = 10.0

_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class Kept(Generic[_T]):
    """The last known answer to a question that is asked again when somebody wants to know.

    Concurrent views share one question, which goes on if nobody waits for it any more.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[_T]], clock: Callable[[], float] = steady
    ) -> None:
        """`ask` may raise `Unusable`."""
        self._ask, self._clock = ask, clock
        self._task: asyncio.Task[None] | None = None
        self._answered_at = self._due_at = float("-inf")
        self.value: _T | None = None
        #: Why there is no newer answer; None if the last question was answered.
        self.error: str | None = None

    @property
    def age(self) -> float:
        """Seconds since the answer was asked for; infinite if there is none."""
        return self._clock() - self._answered_at

    async def get(self) -> _T | None:
        """The answer, or the last known one; None if there is none yet."""
        if self._task is None and self._clock() >= self._due_at:
            self._task = asyncio.create_task(self._renew())
        if (task := self._task) is not None:
            is_old = self._clock() - self._due_at > OLD
            await asyncio.wait({task}, timeout=patience.PATIENCE if is_old else HURRY)
            if not task.done() and is_old:
                self._failed(patience.no_answer(patience.PATIENCE))
        return self.value

    async def _renew(self) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(GIVE_UP):
                self.value, self.error = await self._ask(), None
        except TimeoutError:
            self._failed(patience.no_answer(GIVE_UP))
        except Unusable as error:
            self._failed(str(error))
        except Exception as error:
            log.exception("page_failed", hint="this is a bug, please report it")
            self._failed(f"internal error: {type(error).__name__}")
        else:
            took = self._clock() - began
            self._answered_at = began
            self._due_at = began + took + min(max(CURRENT, PER_SECOND * took), LONGEST)
        finally:
            self._task = None

    def _failed(self, why: str) -> None:
        self.error, self._due_at = why, self._clock() + CURRENT
