"""Waiting for the lease of a backfill, holding it, losing it, releasing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.app import lease as keeper
from reconciler.app.hold_lease import LOST, PATIENCE, hold_lease
from reconciler.app.lease import LEASE_TIME
from reconciler.core.errors import DatabaseUnusable, Unusable
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassRequest
from reconciler.passes.lifecycle import absorb_first_cancel
from tests.support.factories import NOW


@dataclass
class FakeLease:
    """Answers claims from a script, and repeats its last answer."""

    answers: list[int | Exception | None]
    claims: int = 0
    released: int = 0
    #: The claim of this number has been answered.
    waiting: dict[int, asyncio.Event] = field(default_factory=dict)

    async def claim(self, duration: timedelta) -> int | None:
        self.claims += 1
        answer = self.answers[min(self.claims, len(self.answers)) - 1]
        if self.claims in self.waiting:
            self.waiting[self.claims].set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def release(self) -> None:
        self.released += 1

    async def claimed(self, times: int) -> None:
        """Wait for this many claims."""
        if self.claims < times:
            self.waiting[times] = asyncio.Event()
            await self.waiting[times].wait()


class Bench:
    """A lease, and a clock that moves while the code sleeps."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.lease = FakeLease(list(answers))
        self.report = PassReport("p", PassRequest("backfill"), started_at=NOW)
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        # Without `asyncio.timeout`, which would cancel the test as a loss does.
        async with hold_lease(self.lease, "a backfill", self.report, lambda: self.now, self.sleep):
            yield


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is claimed again and again without a pause."""
    monkeypatch.setattr(keeper, "CLAIM_EVERY", 0)
    monkeypatch.setattr(keeper, "CLAIM_AGAIN", 0)


async def test_a_free_lease_is_acquired_silently_and_released() -> None:
    bench = Bench(1)
    with capture_logs() as lines:
        async with bench.holding():
            assert bench.lease.claims == 1
            assert bench.lease.released == 0

    assert bench.slept == []
    assert bench.lease.released == 1
    assert [line for line in lines if line["log_level"] != "debug"] == []


async def test_the_lease_of_a_holder_that_may_be_dead_is_waited_for() -> None:
    bench = Bench(None, None, None, 2)
    with capture_logs() as lines:
        async with bench.holding():
            assert bench.lease.claims == 4

    assert bench.slept == [1, 1, 1]
    waiting = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert waiting == ["lease_awaited"]


async def test_a_holder_that_outlasts_its_lease_is_alive() -> None:
    bench = Bench(None)

    with pytest.raises(Unusable, match="a backfill is already running elsewhere on this"):
        async with bench.holding():
            raise AssertionError

    assert LEASE_TIME.total_seconds() < PATIENCE
    assert sum(bench.slept) == pytest.approx(PATIENCE, abs=1)


async def test_a_lease_that_is_free_at_the_last_moment_is_acquired() -> None:
    bench = Bench(*[None] * int(PATIENCE), 2)

    async with bench.holding():
        pass

    assert sum(bench.slept) == PATIENCE


async def test_an_unreachable_database_is_not_waited_for() -> None:
    bench = Bench(DatabaseUnusable("unreachable"))

    with pytest.raises(Unusable, match="unreachable"):
        async with bench.holding():
            raise AssertionError

    assert bench.slept == []


async def test_the_lease_is_renewed_until_it_is_released(at_once: None) -> None:
    bench = Bench(1)

    async with bench.holding():
        await bench.lease.claimed(5)
        kept = asyncio.all_tasks()
    await asyncio.sleep(0)

    claims = bench.lease.claims
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.lease.claims == claims, "no longer"
    assert len(asyncio.all_tasks()) < len(kept)


async def test_a_lost_lease_stops_the_pass_which_may_write_what_it_has_decided(
    at_once: None,
) -> None:
    bench = Bench(1, 1, None)
    wrote = False

    async with bench.holding():
        with absorb_first_cancel(bench.report):
            await asyncio.Event().wait()
        await bench.lease.claimed(10)
        wrote = True

    assert wrote
    assert bench.report.stopped
    assert (bench.report.error, bench.report.outcome) == (LOST, PassOutcome.ABORTED)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_lease_lost_before_the_pass_begins_prevents_it(at_once: None) -> None:
    bench = Bench(1, 1, None)

    with pytest.raises(Unusable, match="the lease was lost on the way"):
        async with bench.holding():
            await asyncio.Event().wait()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert bench.lease.released == 1


async def test_a_second_loss_does_not_give_up_the_write(at_once: None) -> None:
    bench = Bench(1, None, 3, None, 5, None)

    async with bench.holding():
        with absorb_first_cancel(bench.report):
            await asyncio.Event().wait()
        await bench.lease.claimed(8)

    assert bench.report.stopped


async def test_a_loss_after_a_request_to_stop_does_not_give_up_the_write(at_once: None) -> None:
    bench = Bench(1, None, 3, None)

    async with bench.holding():
        bench.report.stop()
        await bench.lease.claimed(8)

    assert bench.report.error == "stopped before its end"


async def test_a_loss_after_the_end_of_the_pass_does_not_change_its_report(at_once: None) -> None:
    bench = Bench(1, None, 3, None)

    async with bench.holding():
        bench.report.ended = True
        await bench.lease.claimed(8)

    assert (bench.report.error, bench.report.outcome) == (None, PassOutcome.OK)


async def test_a_loss_when_all_is_done_is_ignored(at_once: None) -> None:
    bench = Bench(1)
    task = asyncio.current_task()
    assert task is not None

    async with bench.holding():
        asyncio.get_running_loop().call_soon(task.cancel)  # as the keeper does

    assert task.cancelling() == 1, "the cancellation has arrived"
    assert bench.lease.released == 1


async def test_an_error_inside_is_raised_and_the_lease_released() -> None:
    bench = Bench(1)

    with pytest.raises(ZeroDivisionError):
        async with bench.holding():
            raise ZeroDivisionError

    assert bench.lease.released == 1


async def test_an_interrupted_wait_leaves_no_lease_behind() -> None:
    bench = Bench(None)
    waiting = asyncio.Event()

    async def wait(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    bench.sleep = wait  # type: ignore[method-assign, assignment]

    async def hold() -> None:
        async with bench.holding():
            raise AssertionError

    task = asyncio.create_task(hold())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert bench.lease.released == 1, "the last claim may have been granted"
