"""The client-side rate limit of every call to Temporal, which gives way when it is throttled.

In a namespace's quota the server ranks DescribeWorkflowExecution above the workers' polls: these
are starved already when all calls together reach the quota, while ours are let through until we
reach it alone (server 1.32, service/frontend/configs/quotas.go, and measured). A rejection of
ours is the only sign we get, and it comes late. So it is not enough to be no longer rejected:
half of what the server takes from us is left to others, and probing for more is rare.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

#: Halving stops here: slower, a pass would stand still without saying so.
MIN_RPS = 1.0
#: Calls that were under way together are rejected together: that is one signal, not many.
ONE_SIGNAL_SECONDS = 1.0
#: So long without a rejection, and the server takes all of the calls.
SETTLED_SECONDS = 2.0
#: Then the rate stays where it is for so long, and twice that each time that more was too much.
HOLD_SECONDS, MAX_HOLD_SECONDS = 60.0, 960.0
#: After that each second without a rejection wins back this share of the full rate. Fast, because
#: workers are starved from when it is too much until the server's burst is used up and we hear.
RECOVERY_PER_SECOND = 0.05
#: Slots that passed unused may be made up for, but in no burst that could be felt.
CATCH_UP_SECONDS = 0.05
#: Without a limit, what a rejection halves and recovery is measured by is the busiest second of the
#: last one to two times this: not the present one, which may hold a probe and nothing else.
TRAFFIC_SECONDS = 60.0
#: And this at the least, calls per second: a rejection after little traffic says nothing about how
#: much would be too much. The default limit, which is harmless on every server.
FLOOR_RPS = 100.0
#: The same for lists, which have a quota of their own.
LIST_FLOOR_RPS = 5.0


class RateLimiter:
    """Spaces calls evenly at `max_rps` per second; 0 means no limit until the server asks."""

    def __init__(
        self,
        max_rps: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        floor: float = FLOOR_RPS,
    ) -> None:
        """`floor`: see `FLOOR_RPS`."""
        self._clock, self._sleep = clock, sleep
        self._ceiling = max_rps or math.inf
        self._floor = floor
        #: What recovery is measured by: the ceiling, or without one the traffic when rejected.
        self._full_rate = self._rate = self._ceiling
        now = clock()
        self._next_slot = self._raised_at = self._second_began = self._period_began = now
        self._lowered_at, self._settled, self._hold = -math.inf, True, HOLD_SECONDS
        #: What the server takes and leaves something to others; from here we probe for more.
        self._held = self._ceiling
        self._calls_this_second = 0
        #: The most calls in one second, of this period and the one before.
        self._busiest = self._busiest_before = 0

    @property
    def rate(self) -> float:
        """Calls per second in force now; infinite if there is no limit."""
        return self._rate

    @property
    def wait(self) -> float:
        """Seconds until the next slot is free."""
        return 0.0 if math.isinf(self._rate) else max(self._next_slot - self._clock(), 0.0)

    async def acquire(self, *, wait: bool = True) -> None:
        """Wait for the next slot. Slots are handed out in the order of asking.

        Without waiting, the slot is taken all the same, so that everybody after waits longer.
        """
        now = self._clock()
        self._count(now)
        if math.isinf(self._rate):
            return
        self._adapt(now)
        slot = max(self._next_slot, now - CATCH_UP_SECONDS)
        self._next_slot = slot + 1 / self._rate
        if wait and slot > now:
            await self._sleep(slot - now)

    def throttled(self) -> None:
        """The server answered RESOURCE_EXHAUSTED: halve the rate, at most once a second.

        Halved is what was really sent, if that is less than the rate in force.
        If it was on its way up again, go back to where it came from, and stay there for longer.
        """
        now = self._clock()
        quiet = now - self._lowered_at
        if quiet < ONE_SIGNAL_SECONDS:
            return
        traffic = max(self._busiest, self._busiest_before, self._floor)
        if math.isinf(self._ceiling):
            self._full_rate = traffic
        probed = self._settled and quiet < 2 * self._hold and self._rate > self._held
        self._hold = min(2 * self._hold, MAX_HOLD_SECONDS) if probed else HOLD_SECONDS
        self._rate = self._held if probed else max(min(self._rate, traffic) / 2, MIN_RPS)
        self._settled = probed
        self._lowered_at, self._raised_at = now, now + self._hold
        self._next_slot = max(self._next_slot, now)

    def _adapt(self, now: float) -> None:
        if not self._settled:
            if now - self._lowered_at < SETTLED_SECONDS:
                return
            self._settled = True
            self._held = self._rate = max(self._rate / 2, MIN_RPS)
        if now > self._raised_at:
            regained = (now - self._raised_at) * self._full_rate * RECOVERY_PER_SECOND
            self._rate = min(self._rate + regained, self._ceiling)
            self._raised_at = now

    def _count(self, now: float) -> None:
        if now - self._second_began >= 1:
            self._calls_this_second, self._second_began = 0, now
        if (passed := now - self._period_began) >= TRAFFIC_SECONDS:
            self._busiest_before = self._busiest if passed < 2 * TRAFFIC_SECONDS else 0
            self._busiest, self._period_began = 0, now
        self._calls_this_second += 1
        self._busiest = max(self._busiest, self._calls_this_second)
