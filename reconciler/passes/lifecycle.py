"""What frames every pass: its observers are notified of its beginning and end, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import structlog

from reconciler.core.errors import ReconcilerError, Unusable
from reconciler.core.model import Outcome, Verdict
from reconciler.core.ports import Observer
from reconciler.core.report import PassReport, Report
from reconciler.host.cancellation import GIVE_UP, given_up, heard, stopping, through

_R_contra = TypeVar("_R_contra", bound=Report, contravariant=True)
_R = TypeVar("_R", bound=Report)
_Work = Callable[[], Coroutine[None, None, None]]

log = structlog.get_logger(__name__)


class Recording(Protocol[_R_contra]):
    """Is notified of passes of one kind; see `Observer`."""

    async def on_start(self, report: _R_contra) -> None:
        """A pass begins, nothing is written yet."""
        ...

    async def on_pass(self, report: _R_contra) -> None:
        """A pass has ended, whatever its outcome."""
        ...


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Let what ends a command around its pass end up in the pass's report too.

    Such as a server that cannot be used, or a request to stop while connecting, before the pass
    has begun; one that comes after its end changes nothing.
    """
    try:
        yield
    except Unusable as error:
        report.error = str(error)
    except asyncio.CancelledError:
        heard()
        if not report.ended:
            report.stop()


async def recorded(report: _R, observers: Sequence[Recording[_R]], run: _Work) -> None:
    """Run a pass, and notify observers of its beginning and of its end.

    Requests to stop, and errors meant for the operator, end up in the report. So does a bug, which
    is then raised.
    """

    async def whole() -> None:
        # Once it is on record, its end has to be too.
        await through(_tell_the_beginning(observers, report))
        await run()

    await _end(report, observers, await _attempt(report, whole))


async def reading_clock(
    report: PassReport, observers: Sequence[Observer], read: Callable[[], Awaitable[datetime]]
) -> datetime | None:
    """The time that a pass uses, read before it begins; None if that failed or was stopped.

    Then the pass has ended, and the report says why. These observers are called as for any end; the
    history need not be among them, because it has no record of this pass.
    """
    now: datetime | None = None

    async def reads() -> None:
        nonlocal now
        now = await read()
        if not report.resumed:
            report.started_at = now

    attempt = await _attempt(report, reads)
    if now is None:
        await _end(report, observers, attempt)
    return now


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How work came to its end."""

    bug: Exception | None = None
    #: It was asked to stop a second time: what was under way has been given up.
    at_once: bool = False


async def _attempt(report: Report, work: _Work) -> _Attempt:
    started, attempt = time.monotonic(), _Attempt()
    try:
        with stopping(report):
            await work()
    except ReconcilerError as error:
        report.error = str(error)
    except asyncio.CancelledError:
        heard()
        attempt = _Attempt(at_once=True)
    except Exception as error:
        attempt = _Attempt(bug=error)
        report.error = f"internal error: {error!r}"
    report.duration_seconds += time.monotonic() - started
    return attempt


async def _end(report: _R, observers: Sequence[Recording[_R]], attempt: _Attempt) -> None:
    """Notify observers of the end; raise the first bug, the pass's or one of theirs."""
    report.ended = True
    ending = asyncio.create_task(_tell_the_end(observers, report))
    bugs = await _told(ending, at_once=attempt.at_once)
    for bug in filter(None, [attempt.bug, *bugs]):
        raise bug


class Bystander(Observer):
    """An observer whose own trouble is no reason to end a pass: a progress bar, metrics.

    It is logged once per pass.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._logged = False

    async def on_start(self, report: PassReport) -> None:
        """Pass it on."""
        self._logged = False
        await self._unless_it_fails(self._observer.on_start(report))

    async def on_written(self, outcomes: Sequence[Outcome]) -> None:
        """Pass it on."""
        await self._unless_it_fails(self._observer.on_written(outcomes))

    async def on_page(self, report: PassReport, verdicts: Sequence[Verdict]) -> None:
        """Pass it on."""
        await self._unless_it_fails(self._observer.on_page(report, verdicts))

    async def on_pass(self, report: PassReport) -> None:
        """Pass it on."""
        await self._unless_it_fails(self._observer.on_pass(report))

    async def _unless_it_fails(self, observing: Awaitable[None]) -> None:
        try:
            await observing
        except Exception:
            if not self._logged:
                log.exception("an observer failed by a bug, please report it")
            self._logged = True


async def _tell_the_beginning(observers: Sequence[Recording[_R]], report: _R) -> None:
    for observer in observers:
        await observer.on_start(report)


async def _tell_the_end(observers: Sequence[Recording[_R]], report: _R) -> list[Exception]:
    """Notify all of them; returns the bugs of those that failed."""
    bugs = []
    for observer in observers:
        try:
            await observer.on_pass(report)
        except Exception as error:
            bugs.append(error)
    return bugs


async def _told(ending: asyncio.Task[list[Exception]], *, at_once: bool) -> list[Exception]:
    """Wait for the end to be recorded; not for long once the pass is asked to stop.

    There is nothing left to be stopped: such a request is dealt with, but for a second one.
    """
    try:
        await asyncio.wait([ending], timeout=GIVE_UP if at_once else None)
    except asyncio.CancelledError:
        heard()
        if not at_once:
            return await _told(ending, at_once=True)
    if not ending.done():
        await given_up(ending)
    return [] if ending.cancelled() or not ending.done() else ending.result()
