"""One at a time: what a backfill or an undo does while it holds the lease, and nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from reconciler.errors import Unusable
from reconciler.keeper import CLAIM_AGAIN, LEASE_TIME, Keeper
from reconciler.ports import Lease
from reconciler.steady import steady

#: Seconds after which whoever has the lease is known to be alive: that of the dead has run out.
PATIENCE = LEASE_TIME.total_seconds() + 1

log = structlog.get_logger(__name__)


@asynccontextmanager
async def exclusive(
    lease: Lease,
    what: str,
    clock: Callable[[], float] = steady,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Hold the lease; if it is lost on the way, the current task is cancelled, once.

    Waits for the lease of a holder that may be dead. Raises `Unusable` if it is alive, and calls
    it `what`; if the database cannot be asked; and in the end if the lease was lost.
    """
    loss = _Loss()
    keeper = Keeper(lease, _nothing, loss.happen, _nothing_to_await, clock)
    try:
        await _take(keeper, what, clock, sleep)
        keeping = asyncio.create_task(keeper.keep())
        try:
            yield
        finally:
            keeping.cancel()
            # Also our own, if the lease was lost just when all was done.
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    finally:
        await keeper.release()
    if loss.happened:
        raise Unusable(
            "the lease was lost on the way, and another process may have gone on with this: see "
            "`reconciler passes`, or give the command again"
        )


class _Loss:
    """Asks the current task to stop when the lease is lost: once, a second time would end it.

    The keeper goes on after a loss, and may take the lease again and lose it again.
    """

    def __init__(self) -> None:
        self.happened = False
        self._task = asyncio.current_task()

    def happen(self) -> None:
        if not self.happened and self._task is not None:
            self._task.cancel()
        self.happened = True


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
            log.warning("waiting for the lease: its holder may be dead", seconds=PATIENCE)
        await sleep(CLAIM_AGAIN)


def _nothing() -> None:
    pass


async def _nothing_to_await() -> None:
    pass
