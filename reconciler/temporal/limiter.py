"""The client-side rate limit of every call to Temporal.

The server ranks DescribeWorkflowExecution above the workers' polls in a namespace's quota, so
that an unlimited pass starves the workers before it is throttled itself (measured on server
1.32). Hence a limit of our own, which also gives way: additive increase, multiplicative decrease.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

#: Halving stops here: slower, a pass would stand still without saying so.
MIN_RPS = 1.0
#: Each second without a rejection wins back this share of the full rate.
RECOVERY_PER_SECOND = 0.05
#: Calls that were under way together are rejected together: that is one signal, not many.
ONE_SIGNAL_SECONDS = 1.0
#: Slots that passed unused may be made up for, but in no burst that could be felt.
CATCH_UP_SECONDS = 0.05


class RateLimiter:
    """Spaces calls evenly at `max_rps` per second; 0 means no limit until the server asks."""

    def __init__(
        self,
        max_rps: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._ceiling = max_rps or math.inf
        #: What recovery is measured by: the ceiling, or without one the rate first rejected.
        self._full_rate = self._rate = self._ceiling
        now = clock()
        self._next_slot = self._raised_at = self._second_began = now
        self._halved_at = -math.inf
        self._calls_this_second = self._calls_last_second = 0

    @property
    def rate(self) -> float:
        """Calls per second in force now; infinite if there is no limit."""
        return self._rate

    async def acquire(self) -> None:
        """Wait for the next slot. Slots are handed out in the order of asking."""
        now = self._clock()
        self._count(now)
        if math.isinf(self._rate):
            return
        regained = (now - self._raised_at) * self._full_rate * RECOVERY_PER_SECOND
        self._rate = min(self._rate + regained, self._ceiling)
        self._raised_at = now
        slot = max(self._next_slot, now - CATCH_UP_SECONDS)
        self._next_slot = slot + 1 / self._rate
        if slot > now:
            await self._sleep(slot - now)

    def throttled(self) -> None:
        """The server answered RESOURCE_EXHAUSTED: halve the rate, at most once a second."""
        now = self._clock()
        if now - self._halved_at < ONE_SIGNAL_SECONDS:
            return
        if math.isinf(self._rate):
            self._rate = self._full_rate = max(self._calls_this_second, self._calls_last_second)
        self._rate = max(self._rate / 2, MIN_RPS)
        self._halved_at = self._raised_at = self._next_slot = now

    def _count(self, now: float) -> None:
        if now - self._second_began >= 1:
            self._calls_last_second = self._calls_this_second
            self._calls_this_second, self._second_began = 0, now
        self._calls_this_second += 1
