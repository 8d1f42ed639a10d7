"""One at a time: what a backfill or an undo does while it holds the lease, and nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from reconciler.app.lease import CLAIM_AGAIN, LEASE_TIME, Keeper
from reconciler.core.errors import Unusable
from reconciler.core.ports import Lease
from reconciler.core.report import Report
from reconciler.host.cancellation import acknowledge_cancel, wait_until_done
from reconciler.host.steady_clock import steady
from reconciler.postgres.journal.lease import SPARE

#: Seconds after which whoever has the lease is known to be alive: that of the dead has run out.
PATIENCE = (LEASE_TIME + SPARE).total_seconds()

log = structlog.get_logger(__name__)


LOST = (
    "the lease was lost on the way, and another process may have resumed this: see "
    "`reconciler passes`, or give the command again"
)


@asynccontextmanager
async def exclusive(
    lease: Lease,
    what: str,
    report: Report,
    clock: Callable[[], float] = steady,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Hold the lease; if it is lost on the way, the pass is stopped, and its report says why.

    Waits for the lease of a holder that may be dead. Raises `Unusable` if it is alive, and calls
    it `what`; if the database cannot be asked; and if the lease was lost before the pass began.
    """
    loss = _Loss(report)
    keeper = Keeper(lease, _nothing, loss.happen, _nothing_to_await, clock, announces=False)
    try:
        await _take(keeper, what, clock, sleep)
        keeping = asyncio.create_task(keeper.keep())
        try:
            yield
        except asyncio.CancelledError:
            if not loss.happened:
                raise
            acknowledge_cancel()
            raise Unusable(LOST) from None
        finally:
            keeping.cancel()
            # Also our own, if the lease was lost just when all was done.
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    finally:
        await wait_until_done(asyncio.ensure_future(keeper.release()))


class _Loss:
    """Stops the pass of the current task when the lease is lost, unless it is being stopped.

    The keeper goes on after a loss, and may take the lease again and lose it again; a second
    request would make the pass give up what it is writing.
    """

    def __init__(self, report: Report) -> None:
        self.happened = False
        self._report, self._task = report, asyncio.current_task()

    def happen(self) -> None:
        if self.happened or self._report.stopped or self._report.ended or self._task is None:
            return
        self.happened, self._report.why_stopped = True, LOST
        self._task.cancel()


async def _take(
    keeper: Keeper,
    what: str,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    give_up_at, told = clock() + PATIENCE, False
    while True:
        await keeper.turn()
        if keeper.holds:
            return
        if keeper.trouble:
            raise Unusable(keeper.trouble)
        if clock() >= give_up_at:
            raise Unusable(
                f"{what} is already running elsewhere on this table and namespace: "
                "wait for its end, or stop it"
            )
        if not told:
            told = True
            log.warning("lease_awaited", hint="its holder may be dead", seconds=PATIENCE)
        await sleep(CLAIM_AGAIN)


def _nothing() -> None:
    pass


async def _nothing_to_await() -> None:
    pass
