"""Keeps the lease as long as it can, and knows when it can no longer be sure of it.

```
             claimed                     claimed again, every 5 s
 standby ───────────────► holding ◄──────────┐
    ▲                       │  │─────────────┘
    │ another has claimed,  │
    │ or no answer in 15 s  │ a pass was due and was not started: given up,
    └───────────────────────┘ and not claimed for 15 s
```

It keeps replicas from doing the same work. That they cannot overwrite one another is the guarded
write's doing, so a holder that has lost the lease without knowing does no harm.
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
from reconciler.host.steady_clock import steady

#: How long a claim lasts. A killed holder is succeeded after that and one turn of another's.
LEASE_TIME = timedelta(seconds=15)
#: Seconds between two claims, of the holder and of those who stand by; and after a failed one.
CLAIM_EVERY = 5.0
CLAIM_AGAIN = 1.0
#: Seconds a claim may take, and giving the lease up.
CLAIM_TIMEOUT = 5.0
RELEASE_TIMEOUT = 2.0
#: Seconds between two log lines about claims that fail, however long that goes on.
TELL_EVERY = 60.0
#: Seconds for another replica to take a lease that was given up because no pass was started.
STAND_BACK = LEASE_TIME.total_seconds()
#: Seconds before its end, by our own clock, in which a lease is not relied upon any more.
MARGIN = 1.0

log = structlog.get_logger(__name__)


def this_process() -> str:
    """A holder's name, of this process and no other: host names and process ids come back."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


class Keeper:
    """Claims the lease again and again; tells when it has been taken and when it is lost."""

    def __init__(
        self,
        lease: Lease,
        on_taken: Callable[[], None],
        on_lost: Callable[[], None],
        on_failed: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = steady,
        is_overdue: Callable[[], bool] = lambda: False,
        *,
        announces: bool = True,
    ) -> None:
        """`is_overdue`: whether a pass is due and was not started.

        `announces`: whether it is worth a line that the lease is held, or by another replica.
        """
        self._level = log.info if announces else log.debug
        self._lease, self._is_overdue = lease, is_overdue
        self._on_taken, self._on_lost, self._on_failed = on_taken, on_lost, on_failed
        self._clock = clock
        self._epoch: int | None = None
        self._trusted_until = self._back_at = float("-inf")
        #: Why the last claim failed; None if it was answered.
        self.trouble: str | None = None
        self._told_at = float("-inf")
        #: Whether another replica had it when we last asked: this one has nothing to do then.
        self.stands_by = False
        #: When the last turn began: that this goes on is what "the loop turns" means. By the clock
        #: of the event loop, which stands still as the loop does while the machine is suspended.
        self.turned_at = time.monotonic()
        self._was_overdue = False
        #: When the lease was given up because no pass was started; None once one has been.
        self.gave_up_at: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the lease is ours, as far as can be known without asking again.

        Counted from before the claim was sent, so that it ends here before it ends elsewhere.
        """
        return self._epoch is not None and self._clock() < self._trusted_until

    async def keep(self) -> None:
        """Claim for ever."""
        while True:
            await self.turn()
            await asyncio.sleep(CLAIM_AGAIN if self.trouble else CLAIM_EVERY)

    async def turn(self) -> None:
        """Claim once, unless standing back."""
        self.turned_at, started = time.monotonic(), self._clock()
        if self._stalls():
            log.error("lease_given_up", why="a pass is due, and none was started")
            self.gave_up_at = self.gave_up_at or self.turned_at
            await self.stand_back(STAND_BACK)
        if started < self._back_at:
            return
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT):
                epoch = await self._lease.claim(LEASE_TIME)
        except (Unusable, TimeoutError) as error:
            self._failed(str(error) or f"no answer within {CLAIM_TIMEOUT:.0f} s")
            await self._on_failed()
            return
        if epoch is None and not self.stands_by:
            self._level("standby", hint="another replica holds the lease")
        self.trouble, self.stands_by = None, epoch is None
        if self._clock() < self._back_at:  # told to stand back while the claim was under way
            await self.release()
            return
        if epoch != self._epoch:
            self._lose("another replica has taken it")
        if epoch is not None:
            # A pass that was due while it could not be relied upon has been left out.
            lapsed = not self.holds
            self._trusted_until = started + LEASE_TIME.total_seconds() - MARGIN
            self._epoch = epoch
            if lapsed:
                self._level("lease_acquired", epoch=epoch)
                self._on_taken()

    def _stalls(self) -> bool:
        """Whether a pass is overdue as it was at the last turn: the loop had time to start it."""
        before, self._was_overdue = self._was_overdue, self.holds and self._is_overdue()
        return before and self._was_overdue

    async def stand_back(self, seconds: float) -> None:
        """Let another replica try, and claim again only after a while."""
        self._back_at = self._clock() + seconds
        await self.release()

    async def release(self) -> None:
        """Give the lease up at once; if the database cannot be told, it runs out by itself."""
        self._epoch = None
        with contextlib.suppress(Unusable, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._lease.release()

    def _failed(self, why: str) -> None:
        self.trouble, self.stands_by = why, False
        if self._clock() - self._told_at >= TELL_EVERY:
            self._told_at = self._clock()
            log.warning("lease_claim_failed", error=why)
        if not self.holds:
            self._lose("it could not be claimed again in time")

    def _lose(self, why: str) -> None:
        if self._epoch is None:
            return
        self._epoch = None
        log.warning("lease_lost", why=why)
        self._on_lost()
