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
        self,
        ask: Callable[[], Awaitable[_T]],
        clock: Callable[[], float] = steady,
        longest: float = LONGEST,
    ) -> None:
        """`ask` may raise `Unusable`; `longest`: seconds for which an answer is current, at most.

        They are few where the answer itself says what goes wrong: a silent server takes long to
        give it, and it must not be shown once that is over.
        """
        self._ask, self._clock, self._longest = ask, clock, longest
        self._task: asyncio.Task[None] | None = None
        self._answered_at = self._failed_at = self._due_at = float("-inf")
        self.value: _T | None = None
        #: Why there is no newer answer; None if the last question was answered.
        self.error: str | None = None

    @property
    def age(self) -> float:
        """Seconds since the answer was asked for; infinite if there is none."""
        return self._clock() - self._answered_at

    @property
    def error_age(self) -> float:
        """Seconds since there was no answer for the last time."""
        return self._clock() - self._failed_at

    def retry(self) -> None:
        """Ask again at the next view, if the last question was not answered."""
        if self.error is not None:
            self.expire()

    def expire(self) -> None:
        """Let the next view wait for a new answer: this one is known to be wrong."""
        self._due_at = float("-inf")

    async def get(self, *, patient: bool = False) -> _T | None:
        """The answer, or the last known one; None if there is none yet.

        `patient`: wait for an answer that is on its way, however recent the last one is.
        """
        if self._task is None and self._clock() >= self._due_at:
            self._task = asyncio.create_task(self._renew())
        if (task := self._task) is not None:
            is_old = self._clock() - self._due_at > OLD
            await asyncio.wait({task}, timeout=patience.PATIENCE if is_old or patient else HURRY)
            if not task.done() and is_old:
                self._failed(patience.no_answer(patience.PATIENCE), self._clock() + CURRENT)
        return self.value

    async def _renew(self) -> None:
        began = self._clock()
        why: str | None = None
        try:
            async with asyncio.timeout(GIVE_UP):
                self.value = await self._ask()
        except TimeoutError:
            why = patience.no_answer(GIVE_UP)
        except Unusable as error:
            why = str(error)
        except Exception as error:
            log.exception("page_failed", hint="this is a bug, please report it")
            why = f"internal error: {type(error).__name__}"
        finally:
            self._task = None
        took = self._clock() - began
        due_at = began + took + min(max(CURRENT, PER_SECOND * took), self._longest)
        if why is not None:
            self._failed(why, due_at)  # a statement that runs out of time is costly, too
        else:
            self.error, self._answered_at, self._due_at = None, began, due_at

    def _failed(self, why: str, due_at: float) -> None:
        self.error, self._failed_at, self._due_at = why, self._clock(), due_at
