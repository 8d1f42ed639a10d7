"""The rate limit, on a clock of the test's own."""

from __future__ import annotations

import math

import pytest

from reconciler.temporal.limiter import MIN_RPS, RECOVERY_PER_SECOND, RateLimiter


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def limiter(max_rps: float) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(max_rps, clock, clock.sleep), clock


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


async def test_an_idle_time_is_not_saved_up_for_a_burst() -> None:
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


async def test_rejections_of_one_moment_are_one_signal() -> None:
    limit, clock = limiter(100)

    for _ in range(16):
        limit.throttled()
    assert limit.rate == 50

    clock.now += 1
    limit.throttled()
    assert limit.rate == 25


async def test_the_rate_never_falls_to_a_standstill() -> None:
    limit, clock = limiter(100)

    for _ in range(20):
        limit.throttled()
        clock.now += 1

    assert limit.rate == MIN_RPS


async def test_quiet_time_wins_the_rate_back_and_no_more() -> None:
    limit, clock = limiter(100)
    limit.throttled()

    clock.now += 2
    await limit.acquire()
    assert limit.rate == pytest.approx(50 + 2 * 100 * RECOVERY_PER_SECOND)

    clock.now += 1000
    await limit.acquire()
    assert limit.rate == 100


async def test_without_a_limit_the_rate_that_was_refused_is_halved() -> None:
    limit, clock = limiter(0)
    for _ in range(400):
        await limit.acquire()
        clock.now += 1 / 200

    limit.throttled()

    assert limit.rate == pytest.approx(100, rel=0.05)
