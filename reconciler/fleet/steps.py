"""What all activities have in common: signs of life, how their input is read, and their errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from reconciler.core.errors import ConfigurationError, ReconcilerError
from reconciler.fleet.apps import Refused
from reconciler.fleet.messages import REFUSED, UNUSABLE, Json, read_message
from reconciler.host.causes import Causes

#: Seconds between signs of life.
BEAT_EVERY = 5.0

log = structlog.get_logger(__name__)

_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")
#: What the last heartbeat of this activity said.
_last_details: ContextVar[list[Json]] = ContextVar("_last_details")


class Steps:
    """Makes activities of one worker."""

    def __init__(self) -> None:
        self._refusals = Causes(lines=1)

    def make(
        self, name: str, kind: type[_Given], do: Callable[[_Given], Awaitable[_Answer]]
    ) -> Callable[[Any], Awaitable[_Answer]]:
        """An activity, which shows that it is alive, and whose errors are one line each."""

        @activity.defn(name=name)
        async def step(given: Any) -> Any:
            _last_details.set(list(activity.info().heartbeat_details))
            beating = asyncio.create_task(_keep_beating())
            try:
                with self._translated():
                    return await do(read_message(kind, given))
            finally:
                beating.cancel()

        return step

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (Refused, ConfigurationError, ValueError) as error:
            lasts = isinstance(error, Refused) and error.lasts
            level = log.warning if self._refusals.is_news(str(error)) else log.debug
            level("work_refused", why=str(error))
            raise _failure(str(error), REFUSED, lasts=lasts) from None
        except ReconcilerError as error:
            log.warning("work_failed", error=str(error))
            raise _failure(str(error), UNUSABLE) from None
        except asyncio.CancelledError:
            if is_cancelled_by_request():
                raise
            raise _failure("this worker is stopping", UNUSABLE) from None


def _failure(text: str, kind: str, *, lasts: bool = False) -> ApplicationError:
    """Benign: it has been logged, and the SDK would log a traceback."""
    benign = ApplicationErrorCategory.BENIGN
    return ApplicationError(text, type=kind, non_retryable=lasts, category=benign)


def beat(details: Json) -> None:
    """Send a heartbeat, which the timer repeats."""
    _last_details.get()[:] = [details]
    activity.heartbeat(details)


async def _keep_beating() -> None:
    """Show that the activity is alive, while a page takes long; what it has done is unchanged."""
    while True:
        await asyncio.sleep(BEAT_EVERY)
        activity.heartbeat(*_last_details.get())


def is_cancelled_by_request() -> bool:
    """Whether the workflow was cancelled, and not only this attempt."""
    why = activity.cancellation_details()
    return why is not None and why.cancel_requested
