"""The rate limit, on a simulated clock."""

from __future__ import annotations

import math

import pytest

from reconciler.settings.model import Settings
from reconciler.temporal.client.rate_limiter import (
    FLOOR_RPS,
    HOLD_SECONDS,
    LIST_FLOOR_RPS,
    MAX_HOLD_SECONDS,
    MIN_RPS,
    RECOVERY_PER_SECOND,
    SETTLED_SECONDS,
    TRAFFIC_SECONDS,
    RateLimiter,
)


class Clock:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def limiter(max_rps: float, floor: float = FLOOR_RPS) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(max_rps, clock, clock.sleep, floor), clock


async def traffic(limit: RateLimiter, clock: Clock, rps: int, seconds: int) -> None:
    """Make calls that the server answers at this rate."""
    for _ in range(rps * seconds):
        await limit.acquire()
        clock.now += 1 / rps


async def seconds_until(rate: float, limit: RateLimiter, clock: Clock) -> float:
    """Seconds until the rate rises, with a call now and then."""
    began = clock.now
    while limit.rate < rate:
        clock.now += 0.5
        await limit.acquire(wait=False)
    return clock.now - began


async def calls_in(seconds: float, limit: RateLimiter, clock: Clock) -> int:
    calls, end = 0, clock.now + seconds
    while True:
        await limit.acquire()
        if clock.now >= end:
            return calls
        calls += 1


async def test_calls_are_spaced_at_the_rate() -> None:
    limit, clock = limiter(100)

    assert await calls_in(10, limit, clock) == pytest.approx(1000, abs=10)


async def test_idle_time_does_not_allow_a_burst() -> None:
    limit, clock = limiter(100)
    await limit.acquire()
    clock.now += 60

    assert await calls_in(1, limit, clock) == pytest.approx(105, abs=2)


async def test_zero_means_no_limit() -> None:
    limit, clock = limiter(0)
    before = clock.now

    for _ in range(10_000):
        await limit.acquire()

    assert clock.now == before
    assert math.isinf(limit.rate)


async def test_throttling_halves_the_rate() -> None:
    limit, clock = limiter(100)

    limit.throttled()

    assert limit.rate == 50
    assert await calls_in(1, limit, clock) == pytest.approx(52, abs=3)


async def test_simultaneous_rejections_are_one_signal() -> None:
    limit, clock = limiter(100)

    for _ in range(16):
        limit.throttled()
    assert limit.rate == 50

    clock.now += 1
    limit.throttled()
    assert limit.rate == 25


async def test_the_rate_has_a_minimum() -> None:
    limit, clock = limiter(100)

    for _ in range(20):
        limit.throttled()
        clock.now += 1

    assert limit.rate == MIN_RPS


async def settled(limit: RateLimiter, clock: Clock) -> None:
    """Reject a call, and then none until the rate has settled."""
    limit.throttled()
    clock.now += SETTLED_SECONDS
    await limit.acquire()


async def held(limit: RateLimiter, clock: Clock) -> float:
    """Seconds from a rejection to the first rise of the rate."""
    await settled(limit, clock)
    began, low = clock.now, limit.rate
    while limit.rate == low:
        clock.now += 1
        await limit.acquire()
    return clock.now - began + SETTLED_SECONDS


async def test_half_of_what_the_server_accepts_is_left_to_others() -> None:
    limit, clock = limiter(100)
    limit.throttled()
    clock.now += SETTLED_SECONDS / 2
    await limit.acquire()
    assert limit.rate == 50, "it may still be too much"

    clock.now += SETTLED_SECONDS / 2
    await limit.acquire()
    assert limit.rate == 25


async def test_the_rate_is_held_for_a_while_and_then_regained() -> None:
    limit, clock = limiter(100)
    await settled(limit, clock)

    clock.now += HOLD_SECONDS - SETTLED_SECONDS
    await limit.acquire()
    assert limit.rate == 25

    clock.now += 2
    await limit.acquire()
    assert limit.rate == pytest.approx(25 + 2 * 100 * RECOVERY_PER_SECOND)

    clock.now += 1000
    await limit.acquire()
    assert limit.rate == 100


async def test_each_failed_probe_doubles_the_hold() -> None:
    limit, clock = limiter(100)

    holds = [await held(limit, clock) for _ in range(7)]

    assert holds == pytest.approx([60, 120, 240, 480, 960, 960, 960], abs=1.1)
    assert (HOLD_SECONDS, MAX_HOLD_SECONDS) == (60, 960)


async def test_a_failed_probe_restores_the_held_rate() -> None:
    limit, clock = limiter(100)
    await held(limit, clock)
    clock.now += 5
    await limit.acquire()
    assert limit.rate > 50

    limit.throttled()
    assert limit.rate == 25
    clock.now += SETTLED_SECONDS
    await limit.acquire()
    assert limit.rate == 25, "which was accepted before"


async def test_if_the_held_rate_is_rejected_too_it_is_halved() -> None:
    limit, clock = limiter(100)
    await settled(limit, clock)

    limit.throttled()

    assert limit.rate == 12.5


async def test_a_rejection_long_after_the_last_counts_as_the_first() -> None:
    limit, clock = limiter(100)
    await held(limit, clock)
    await held(limit, clock)

    clock.now += 4 * HOLD_SECONDS
    assert await held(limit, clock) == pytest.approx(HOLD_SECONDS, abs=1.1)


async def test_rejections_on_the_way_down_do_not_prolong_the_hold() -> None:
    limit, clock = limiter(100)
    limit.throttled()
    clock.now += 1
    limit.throttled()
    clock.now += 1

    assert await held(limit, clock) == pytest.approx(HOLD_SECONDS, abs=1.1)


async def test_a_rejection_does_not_reassign_slots() -> None:
    limit, clock = limiter(100)
    for _ in range(16):
        await limit.acquire(wait=False)
    before = clock.now

    limit.throttled()
    await limit.acquire()

    assert clock.now - before > 0.1


async def test_a_call_that_does_not_wait_delays_the_others() -> None:
    limit, clock = limiter(10)
    await limit.acquire()
    before = clock.now

    await limit.acquire(wait=False)
    assert clock.now == before

    await limit.acquire()
    assert clock.now - before == pytest.approx(0.2)


async def test_without_a_limit_the_rejected_rate_is_halved() -> None:
    limit, clock = limiter(0)
    for _ in range(400):
        await limit.acquire()
        clock.now += 1 / 200

    limit.throttled()

    assert limit.rate == pytest.approx(100, rel=0.05)


class TestWithoutALimit:
    """A rejection is the first sign of how much is too much."""

    async def test_a_first_call_that_is_rejected(self) -> None:
        limit, clock = limiter(0)
        await limit.acquire()

        limit.throttled()

        assert limit.rate == FLOOR_RPS / 2
        assert await seconds_until(FLOOR_RPS, limit, clock) < 2 * HOLD_SECONDS

    async def test_a_rejection_before_any_call_is_counted(self) -> None:
        limit, _ = limiter(0)

        limit.throttled()

        assert limit.rate == FLOOR_RPS / 2

    async def test_probes_between_two_passes_do_not_hide_what_the_server_accepted(self) -> None:
        limit, clock = limiter(0)
        await traffic(limit, clock, 800, 3)
        for _ in range(6):
            clock.now += 8
            await limit.acquire(wait=False)
        await limit.acquire()

        limit.throttled()

        assert limit.rate == pytest.approx(400, rel=0.01)
        assert await seconds_until(800, limit, clock) < 2 * HOLD_SECONDS

    async def test_traffic_of_long_ago_does_not_count(self) -> None:
        limit, clock = limiter(0)
        await traffic(limit, clock, 800, 3)
        for _ in range(3):
            clock.now += TRAFFIC_SECONDS
            await limit.acquire(wait=False)

        limit.throttled()

        assert limit.rate == FLOOR_RPS / 2

    async def test_nor_does_traffic_before_a_long_silence(self) -> None:
        limit, clock = limiter(0)
        await traffic(limit, clock, 800, 3)
        clock.now += 10 * TRAFFIC_SECONDS
        await limit.acquire()

        limit.throttled()

        assert limit.rate == FLOOR_RPS / 2

    async def test_a_clock_that_stands_still_within_a_burst(self) -> None:
        limit, _ = limiter(0)
        for _ in range(500):
            await limit.acquire()

        limit.throttled()

        assert limit.rate == 250

    async def test_a_clock_that_ticks_in_seconds(self) -> None:
        limit, clock = limiter(0)
        for _ in range(5):
            for _ in range(300):
                await limit.acquire()
            clock.now += 1

        limit.throttled()

        assert limit.rate == 150

    async def test_a_rate_beyond_the_traffic_is_lowered_at_once(self) -> None:
        limit, clock = limiter(0)
        await settled(limit, clock)
        await seconds_until(5_000, limit, clock)
        await traffic(limit, clock, 400, 3)

        limit.throttled()

        assert limit.rate == pytest.approx(200, rel=0.05)

    async def test_lists_have_their_own_floor(self) -> None:
        limit, clock = limiter(0, LIST_FLOOR_RPS)
        await limit.acquire()

        limit.throttled()

        assert limit.rate == LIST_FLOOR_RPS / 2
        assert await seconds_until(LIST_FLOOR_RPS, limit, clock) < 2 * HOLD_SECONDS


async def test_the_traffic_is_halved_if_it_is_below_the_limit() -> None:
    limit, clock = limiter(1_000)
    await traffic(limit, clock, 300, 3)

    limit.throttled()

    assert limit.rate == pytest.approx(150, rel=0.01)


@pytest.mark.parametrize("max_rps", [2, 50, 100])
async def test_the_floor_never_raises_a_rate(max_rps: float) -> None:
    limit, clock = limiter(max_rps)

    limit.throttled()
    assert limit.rate == max(max_rps / 2, MIN_RPS)

    clock.now += 1
    limit.throttled()
    assert limit.rate == max(max_rps / 4, MIN_RPS)


async def test_throttling_never_raises_a_limit_below_the_minimum() -> None:
    """Such as the share of a range in the list calls of many."""
    limit, clock = limiter(0.05)
    await limit.acquire()
    for _ in range(3):
        limit.throttled()
        assert limit.rate == 0.05
        await clock.sleep(SETTLED_SECONDS + 1)
        await limit.acquire()
        assert limit.rate == 0.05


def test_the_floors_are_the_default_limits() -> None:
    fields = Settings.model_fields

    assert fields["max_rps"].default == FLOOR_RPS
    assert fields["visibility_rps"].default == LIST_FLOOR_RPS
