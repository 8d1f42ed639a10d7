"""The lease of a backfill or an undo: one of them runs on a table, and resumes what ended early."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import structlog

from reconciler.app.lease import CLAIM_AGAIN, LEASE_TIME, LeaseKeeper
from reconciler.core.errors import Unusable
from reconciler.core.model import RowId
from reconciler.core.ports import History, Lease
from reconciler.core.report.pass_report import PassReport, Report
from reconciler.core.report.request import PassRequest
from reconciler.host.cancellation import acknowledge_cancel, run_to_completion, wait_until_done
from reconciler.host.steady_clock import steady
from reconciler.postgres.journal.lease import SPARE

#: Seconds to wait for the lease. If the holder were dead, it would have expired by then.
PATIENCE = (LEASE_TIME + SPARE).total_seconds()
LOST = (
    "the lease was lost on the way, and another process may have resumed this: see "
    "`reconciler passes`, or give the command again"
)

log = structlog.get_logger(__name__)


@asynccontextmanager
async def hold_lease(
    lease: Lease,
    what: str,
    report: Report,
    clock: Callable[[], float] = steady,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Hold the lease. If it is lost, the pass is stopped, and its report says why.

    Waits in case the present holder is dead. Raises `Unusable` if it is alive (the message calls it
    `what`), if the database is, or if the lease was lost before the pass began.
    """
    loss = _Loss(report)
    keeper = LeaseKeeper(lease, on_lost=loss.cancel_once, clock=clock, quiet=True)
    try:
        await _acquire(keeper, what, clock, sleep)
        keeping = asyncio.create_task(keeper.run())
        try:
            yield
        except asyncio.CancelledError:
            if not loss.happened:
                raise
            acknowledge_cancel()
            raise Unusable(LOST) from None
        finally:
            keeping.cancel()
            # Includes a cancellation by `loss`, if the lease was lost when all was done.
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    finally:
        await wait_until_done(asyncio.ensure_future(keeper.release()))


class _Loss:
    """Cancels the current task when the lease is lost, unless its pass is stopping or has ended.

    The lease may be acquired and lost again; a second cancellation would give up a write.
    """

    def __init__(self, report: Report) -> None:
        self.happened = False
        self._report, self._task = report, asyncio.current_task()

    def cancel_once(self) -> None:
        if self.happened or self._report.stopped or self._report.ended or self._task is None:
            return
        self.happened, self._report.why_stopped = True, LOST
        self._task.cancel()


@asynccontextmanager
async def resume_or_start(
    history: History,
    lease: Lease,
    same: PassRequest,
    read_id: Callable[[Any], RowId],
    new: PassReport,
    report: PassReport,
    *,
    restart: bool,
) -> AsyncIterator[None]:
    """Hold the lease, and make `report` that of the pass of the `same` request, or else `new`."""
    async with hold_lease(lease, "a backfill or an undo", report):
        if restart:
            await history.give_up(same)
        # To completion: once the pass counts as running, its end must be recorded.
        begun = await run_to_completion(history.resume(same, read_id))
        report.become(new if begun is None else begun)
        yield


async def _acquire(
    keeper: LeaseKeeper,
    what: str,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    deadline = clock() + PATIENCE
    for attempt in count():
        await keeper.renew_once()
        if keeper.holds:
            return
        if keeper.last_error:
            raise Unusable(keeper.last_error)
        if clock() >= deadline:
            raise Unusable(
                f"{what} is already running elsewhere on this table and namespace",
                "wait for its end, or stop it",
            )
        if attempt == 0:
            log.warning("lease_awaited", hint="its holder may be dead", seconds=PATIENCE)
        await sleep(CLAIM_AGAIN)
