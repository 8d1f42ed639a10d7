"""What frames every pass over rows: its observers hear of its beginning and of its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from reconciler.core.model import Outcome, Verdict
from reconciler.core.report import PassReport
from reconciler.errors import Unusable
from reconciler.ports import Observer
from reconciler.stopping import stopping, through

log = structlog.get_logger(__name__)


@asynccontextmanager
async def recorded(report: PassReport, observers: Sequence[Observer]) -> AsyncIterator[None]:
    """Tell observers of a pass's beginning, and of its end unless that is a bug.

    A request to stop, and `Unusable`, end up in the report.
    """
    started, seconds_before = time.monotonic(), report.duration_seconds
    try:
        with stopping(report):
            try:
                await through(_tell_the_beginning(observers, report))
            except asyncio.CancelledError:
                _stop_at_the_next_step()  # it is on record, so its end has to be too
            yield
    except Unusable as error:
        report.error = str(error)
    report.duration_seconds = seconds_before + time.monotonic() - started
    await through(_tell_the_end(observers, report))


async def reading_clock(
    report: PassReport, observers: Sequence[Observer], read: Callable[[], Awaitable[datetime]]
) -> datetime | None:
    """The time a pass goes by, read before it begins; None if that failed or was stopped.

    Then the pass has ended, and the report says why. These observers are called as for any end; the
    history need not be among them, because it has no record of this pass.
    """
    started, seconds_before = time.monotonic(), report.duration_seconds
    try:
        with stopping(report):
            now = await read()
            if not report.resumed:
                report.started_at = now
            return now
    except Unusable as error:
        report.error = str(error)
    report.duration_seconds = seconds_before + time.monotonic() - started
    await through(_tell_the_end(observers, report))
    return None


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


def _stop_at_the_next_step() -> None:
    """Put a request to stop off until the pass waits for something."""
    if task := asyncio.current_task():
        task.uncancel()
        task.cancel()


async def _tell_the_beginning(observers: Sequence[Observer], report: PassReport) -> None:
    for observer in observers:
        await observer.on_start(report)


async def _tell_the_end(observers: Sequence[Observer], report: PassReport) -> None:
    for observer in observers:
        await observer.on_pass(report)
