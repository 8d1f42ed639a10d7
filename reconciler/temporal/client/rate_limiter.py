"""The client-side rate limit of all calls to Temporal, which slows down when it is throttled.

Within a namespace's quota the server ranks DescribeWorkflowExecution above the workers' polls: the
polls starve as soon as all calls together reach the quota, while describes pass until they reach
it alone (server 1.32, service/frontend/configs/quotas.go, and measured). A rejected describe is
the only signal, and it comes late. So it is not enough to avoid rejections: half of what the
server accepts is left to others, and the limiter rarely probes for more.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

#: Halving stops here, or at a lower limit; slower, a pass would seem to hang.
MIN_RPS = 1.0
#: Calls that were under way together are rejected together: one signal.
ONE_SIGNAL_SECONDS = 1.0
#: After this time without a rejection, the server accepts all of the calls.
SETTLED_SECONDS = 2.0
#: Then the rate is held for this long, and twice as long each time that probing goes too far.
HOLD_SECONDS = 60.0
MAX_HOLD_SECONDS = 960.0
#: After that, each second without a rejection regains this share of the full rate. Fast, because
#: workers starve from the moment the rate is too high until the server's burst is used up and it
#: rejects a call.
RECOVERY_PER_SECOND = 0.05
#: Unused slots may be made up for, but only in bursts too short to notice.
CATCH_UP_SECONDS = 0.05
#: Without a limit, halving and recovery are relative to the busiest second of the last one to two
#: of these periods. The current second may hold a single probe.
TRAFFIC_SECONDS = 60.0
#: Their minimum, in calls per second: a rejection after little traffic does not show what would be
#: too much. It is the default limit, which is harmless on every server.
FLOOR_RPS = 100.0
#: The same for list calls, which have their own quota.
LIST_FLOOR_RPS = 5.0


class RateLimiter:
    """Spaces calls evenly at `max_rps` per second; 0 is no limit until the server throttles."""

    def __init__(
        self,
        max_rps: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        floor: float = FLOOR_RPS,
    ) -> None:
        """`floor`: see `FLOOR_RPS`."""
        self._clock = clock
        self._sleep = sleep
        self._ceiling = max_rps or math.inf
        self._least = min(MIN_RPS, self._ceiling)
        self._floor = floor
        self._rate = self._ceiling
        #: What recovery is relative to: the ceiling, or without one the traffic when rejected.
        self._full_rate = self._ceiling
        #: The rate that the server accepts and that leaves room for others; probing starts here.
        self._held = self._ceiling
        self._hold = HOLD_SECONDS
        self._settled = True
        self._lowered_at = -math.inf
        self._next_slot = self._raised_at = self._second_began = self._period_began = clock()
        self._calls_this_second = 0
        #: The most calls in one second, of this period and the one before.
        self._busiest = self._busiest_before = 0

    @property
    def rate(self) -> float:
        """Calls per second allowed now; infinite without a limit."""
        return self._rate

    @property
    def wait(self) -> float:
        """Seconds until the next slot is free."""
        return 0.0 if math.isinf(self._rate) else max(self._next_slot - self._clock(), 0.0)

    async def acquire(self, *, wait: bool = True) -> None:
        """Take the next slot and wait for it; slots are first come, first served.

        Without waiting, the slot is taken all the same, so that later callers wait longer.
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

        What is halved is the traffic actually sent, if that is less than the rate. A rejection
        while probing restores the held rate instead, and holds it for longer.
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
        self._rate = self._held if probed else max(min(self._rate, traffic) / 2, self._least)
        self._settled = probed
        self._lowered_at, self._raised_at = now, now + self._hold
        self._next_slot = max(self._next_slot, now)

    def _adapt(self, now: float) -> None:
        if not self._settled:
            if now - self._lowered_at < SETTLED_SECONDS:
                return
            self._settled = True
            self._held = self._rate = max(self._rate / 2, self._least)
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
