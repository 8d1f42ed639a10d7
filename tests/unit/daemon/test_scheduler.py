"""The scheduler on its own clock, whatever the host's says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.daemon.scheduler import Scheduler, SteadyTime
from tests.support.polling import eventually


class Bench:
    """A scheduler whose clock the test moves, and a job that counts."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.runs = 0
        self.ticks = 0
        self.asked: list[timedelta | None] = []
        self.scheduler = Scheduler(lambda: self.now)

    def start(self, interval: timedelta) -> None:
        def wait(since: timedelta | None) -> timedelta:
            self.asked.append(since)
            return interval

        async def run() -> None:
            self.runs += 1

        async def tick() -> None:
            self.ticks += 1

        self.scheduler.add("job", run, wait)
        # Another job wakes the scheduler often.
        self.scheduler.add("ticks", tick, lambda _: timedelta(microseconds=1))
        self.scheduler.start()

    async def settled(self) -> None:
        """Let it look at its jobs again."""
        before = self.ticks
        self.now += 0.001

        async def looked() -> bool:
            self.now += 0.001
            return self.ticks > before + 1

        await eventually(looked)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.scheduler.stop()
    await asyncio.sleep(0)


async def test_a_job_runs_when_it_is_due_and_not_before(bench: Bench) -> None:
    bench.start(timedelta(minutes=1))
    await bench.settled()
    assert bench.runs == 0

    bench.now += 60
    await bench.settled()
    assert bench.runs == 1


async def test_runs_missed_for_a_year_become_one_run(bench: Bench) -> None:
    bench.start(timedelta(seconds=1))
    bench.now += 365 * 86_400
    await bench.settled()

    assert bench.runs == 1
    assert len(bench.asked) < 10, "missed runs are not computed"


async def test_after_a_run_at_once_the_next_one_counts_from_it(bench: Bench) -> None:
    bench.start(timedelta(minutes=1))
    bench.now += 30
    bench.scheduler.at_once("job")
    await bench.settled()
    assert bench.runs == 1

    bench.now += 59
    await bench.settled()
    assert bench.runs == 1
    bench.now += 1
    await bench.settled()
    assert bench.runs == 2


def test_the_clock_of_the_host_has_no_effect() -> None:
    now: list[float] = [5.0]
    zone = SteadyTime(lambda: now[0])
    before = datetime.now(zone)
    now[0] += 90

    assert datetime.now(zone) - before == timedelta(seconds=90)
    assert zone.fromutc(datetime(1970, 1, 1, tzinfo=UTC)) == datetime.now(zone)
