"""Keeps a lease for as long as possible, and knows when it can no longer be relied upon.

```
             claimed                     claimed again, every 5 s
 standby ───────────────► holding ◄──────────┐
    ▲                       │  │─────────────┘
    │ another has claimed,  │
    │ or no answer in 15 s  │ a pass was due and did not start: released,
    └───────────────────────┘ and not claimed for 15 s
```

The lease keeps replicas from doing the same work. It is the guarded write that keeps them from
overwriting each other, so a holder that has lost the lease without noticing does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.ports import Lease
from reconciler.host.causes import Causes
from reconciler.host.steady_clock import steady

#: How long a claim lasts. Another replica takes over from a killed holder after that, at its next
#: claim.
LEASE_TIME = timedelta(seconds=15)
#: Seconds from one claim to the next; and after a failed one.
CLAIM_EVERY = 5.0
CLAIM_AGAIN = 1.0
#: Seconds that claiming and releasing may take.
CLAIM_TIMEOUT = 5.0
RELEASE_TIMEOUT = 2.0
#: Seconds for another replica to claim a lease that was released because no pass started.
STAND_BACK = LEASE_TIME.total_seconds()
#: Seconds before the end of a claim, by this host's clock, in which it is not relied upon.
MARGIN = 1.0

log = structlog.get_logger(__name__)


def this_process() -> str:
    """A holder name that is never used again, unlike host names and process ids."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


class LeaseKeeper:
    """Claims a lease again and again, and calls back when it is acquired or lost."""

    def __init__(
        self,
        lease: Lease,
        *,
        on_acquired: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None],
        on_failed: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = steady,
        is_overdue: Callable[[], bool] = lambda: False,
        quiet: bool = False,
    ) -> None:
        """`is_overdue`: whether a pass is due and has not started.

        `on_failed` is called after a failed claim. `quiet`: log at debug level who holds the lease.
        """
        self._lease, self._clock, self._is_overdue = lease, clock, is_overdue
        self._on_acquired, self._on_lost, self._on_failed = on_acquired, on_lost, on_failed
        self._log = log.debug if quiet else log.info
        self._failures = Causes(lines=1)
        self._epoch: int | None = None
        self._trusted_until = self._no_claim_before = float("-inf")
        self._was_overdue = False
        #: Why the last claim failed; None if it was answered.
        self.last_error: str | None = None
        #: Whether another replica held the lease at the last claim.
        self.is_standby = False
        #: When the last renewal began, by `time.monotonic`: unlike `steady`, that clock stops while
        #: the machine is suspended, as the event loop does.
        self.renewed_at = time.monotonic()
        #: When the lease was released because no pass started; None once one has started.
        self.gave_up_at: float | None = None

    @property
    def holds(self) -> bool:
        """Whether this process can rely on holding the lease.

        Counted from before the claim was sent, so that the lease ends here before it ends there.
        """
        return self._epoch is not None and self._clock() < self._trusted_until

    async def run(self) -> None:
        """Claim the lease until cancelled."""
        while True:
            await self.renew_once()
            await asyncio.sleep(CLAIM_AGAIN if self.last_error else CLAIM_EVERY)

    async def renew_once(self) -> None:
        """Claim the lease, unless it was released for a while."""
        self.renewed_at, started = time.monotonic(), self._clock()
        if self._is_stalled():
            log.error("lease_given_up", why="a pass is due, and none was started")
            self.gave_up_at = self.gave_up_at or self.renewed_at
            await self.release_for(STAND_BACK)
        if started < self._no_claim_before:
            return
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT):
                epoch = await self._lease.claim(LEASE_TIME)
        except (Unusable, TimeoutError) as error:
            await self._claim_failed(str(error) or f"no answer within {CLAIM_TIMEOUT:.0f} s")
            return
        self._failures.end_round()
        if epoch is None and not self.is_standby:
            self._log("standby", hint="another replica holds the lease")
        self.last_error, self.is_standby = None, epoch is None
        if self._clock() < self._no_claim_before:  # released while the claim was under way
            await self.release()
        else:
            self._claimed(epoch, started)

    def _claimed(self, epoch: int | None, started: float) -> None:
        if epoch != self._epoch:
            self._lose("another replica has taken it")
        if epoch is not None:
            # If the trust had lapsed, a pass that was due meanwhile has been skipped.
            lapsed = not self.holds
            self._trusted_until = started + LEASE_TIME.total_seconds() - MARGIN
            self._epoch = epoch
            if lapsed:
                self._log("lease_acquired", epoch=epoch)
                self._on_acquired()

    def _is_stalled(self) -> bool:
        """Whether a pass is overdue now and was at the last renewal: there was time to start it."""
        before, self._was_overdue = self._was_overdue, self.holds and self._is_overdue()
        return before and self._was_overdue

    async def release_for(self, seconds: float) -> None:
        """Release the lease and do not claim it for a while, so that another replica can."""
        self._no_claim_before = self._clock() + seconds
        await self.release()

    async def release(self) -> None:
        """Release the lease; if the database does not answer, it expires by itself."""
        self._epoch = None
        with contextlib.suppress(Unusable, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._lease.release()

    async def _claim_failed(self, why: str) -> None:
        self.last_error, self.is_standby = why, False
        if self._failures.is_news(why):
            log.warning("lease_claim_failed", error=why)
        if not self.holds:
            self._lose("it could not be claimed again in time")
        if self._on_failed is not None:
            await self._on_failed()

    def _lose(self, why: str) -> None:
        if self._epoch is None:
            return
        self._epoch = None
        log.warning("lease_lost", why=why)
        self._on_lost()
