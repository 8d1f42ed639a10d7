"""The loop over fakes: what it does between passes, and after a failed one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from reconciler.app import lease as lease_module
from reconciler.app.app import App
from reconciler.core.model import Mode
from reconciler.core.observer import Observer
from reconciler.core.ports import Heartbeat
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.daemon import loop as module
from reconciler.daemon import schedule as schedule_module
from reconciler.daemon.health import DATABASE, Health
from reconciler.daemon.loop import Loop
from reconciler.daemon.schedule import Cron, Every, retry_delay
from reconciler.daemon.scheduler import Scheduler, Wait
from reconciler.passes.stuck import StuckCounts
from reconciler.web.metrics.passes import PassMetrics
from tests.support.polling import deadline, eventually

HOURLY = Every(timedelta(hours=1))
NO_FEED = SimpleNamespace(
    table="workflow_executions",
    feed_interval=timedelta(),
    list_limits=lambda: {"RECONCILER_VISIBILITY_RPS": 5.0},
)
Script = Callable[[PassReport], Awaitable[None]]


class FakeClock:
    """The clock of the database."""

    ahead = timedelta()

    async def read(self) -> datetime:
        return self.now()

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class FakeApp:
    """Runs a script for each pass. The lease is free while `epoch` is not None."""

    script: Script
    passes: list[PassReport] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    epoch: int | None = 1
    claims: int = 0
    journals: bool = True
    namespace: Any = field(default_factory=lambda: SimpleNamespace(name="default"))
    settings: Any = field(default_factory=lambda: NO_FEED)
    rpc: Any = field(default_factory=lambda: SimpleNamespace(sharers=1))
    clock: FakeClock = field(default_factory=FakeClock)
    stuck_counts: StuckCounts = field(default_factory=lambda: StuckCounts({}))

    async def run_pass(
        self,
        mode: str,
        *,
        dry_run: bool,
        observers: Sequence[Observer],
        remap: bool,
        stretch_only: bool,
    ) -> PassReport:
        assert remap, "the table may have changed since the start"
        assert not stretch_only, "without a feed, every row is looked at"
        report = PassReport(
            str(len(self.passes)), PassRequest(mode, dry_run=dry_run), started_at=datetime.now(UTC)
        )
        self.passes.append(report)
        await self.script(report)
        for observer in observers:
            await observer.on_pass(report)
        return report

    @property
    def history(self) -> FakeApp:
        return self

    async def heartbeat(self) -> Heartbeat | None:
        if not self.passes:
            return None
        now = self.clock.now()
        return Heartbeat(now, timedelta(), now, self.passes[-1].pass_id)

    def lease(self) -> FakeApp:
        return self

    async def claim(self, duration: timedelta) -> int | None:
        self.claims += 1
        return self.epoch

    async def release(self) -> None:
        self.did.append("release")

    async def forget_connections(self) -> None:
        self.did.append("forget connections")


@dataclass
class Bench:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    health: Health = field(init=False)

    def start(
        self, app: FakeApp, schedule: Every | Cron = HOURLY, out_of_step: float = 0.0
    ) -> asyncio.Task[None]:
        health = self.health = Health(schedule, CollectorRegistry())
        metrics = PassMetrics(self.registry, Mode.RUN)
        loop = Loop(cast("App", app), schedule, metrics, health, out_of_step)
        self.running.append(asyncio.create_task(loop.run()))
        return self.running[-1]

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"reconciler_{name}", labels)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(lease_module, "CLAIM_EVERY", 0.01)
    monkeypatch.setattr(schedule_module, "FIRST_RETRY", 0.02)
    bench = Bench()
    yield bench
    for task in bench.running:
        task.cancel()
    await asyncio.wait(bench.running)


async def well(report: PassReport) -> None: ...


async def times(app: FakeApp, count: int) -> None:
    async def passed() -> bool:
        return len(app.passes) >= count

    await eventually(passed)


async def test_the_first_pass_starts_at_once(bench: Bench) -> None:
    app = FakeApp(well)
    bench.start(app, HOURLY)
    await times(app, 1)

    assert bench.value("passes_total", mode="run", outcome="ok") == 1


async def test_the_next_pass_starts_when_it_is_due(bench: Bench) -> None:
    app = FakeApp(well)
    bench.start(app, Every(timedelta(milliseconds=50)))
    await times(app, 3)


async def test_a_loop_that_is_out_of_step_makes_its_second_pass_sooner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[timedelta] = []

    class FakeScheduler(Scheduler):
        def add(self, name: str, job: Callable[[], Awaitable[None]], wait: Wait) -> None:
            self.job, self.wait = job, wait
            super().add(name, job, wait)

        def at_once(self, name: str) -> None:
            """As APScheduler does, which asks twice when the next run is due, and then runs it."""
            waits.extend([self.wait(timedelta()), self.wait(timedelta())])
            running.append(asyncio.create_task(self.job_and_after()))

        async def job_and_after(self) -> None:
            await self.job()
            waits.append(self.wait(timedelta()))

    running: list[asyncio.Task[None]] = []
    monkeypatch.setattr(schedule_module, "MAX_JITTER", timedelta())
    monkeypatch.setattr(module, "Scheduler", FakeScheduler)
    app = FakeApp(well)
    bench.start(app, HOURLY, out_of_step=0.25)
    await times(app, 1)
    (first,) = running
    await first

    assert [each / timedelta(minutes=1) for each in waits] == [45, 45, 60]


async def test_without_the_lease_there_is_no_pass(bench: Bench) -> None:
    app = FakeApp(well, epoch=None)
    bench.start(app, Every(timedelta(milliseconds=5)))

    async def refused_often() -> bool:
        return app.claims > 5

    await eventually(refused_often)
    assert app.passes == []

    app.epoch = 1
    await times(app, 1)


@pytest.mark.parametrize("kind", ["error", "bug"])
async def test_a_failed_pass_is_retried_on_new_connections(bench: Bench, kind: str) -> None:
    async def fail_twice(report: PassReport) -> None:
        if report.pass_id in ("0", "1"):
            if kind == "bug":
                raise ZeroDivisionError
            report.error = "Temporal is unreachable"

    app = FakeApp(fail_twice)
    with capture_logs() as lines:
        bench.start(app)
        await times(app, 3)

    failed = [line for line in lines if line["event"] == "pass_failed"]
    assert [line["failures"] for line in failed] == [1, 2]
    assert app.did[:4] == ["release", "forget connections"] * 2
    assert bench.value("passes_total", mode="run", outcome="aborted") == 2
    record = bench.health.record
    why = "a bug, see the log" if kind == "bug" else "Temporal is unreachable"
    assert [(each.what, each.text) for each in record.errors] == [("pass", why)]
    assert record.pass_began_at is not None
    assert record.errors[0].at <= record.pass_began_at, "the last pass began after it"


async def test_a_failure_clears_the_gauges_of_the_last_pass(bench: Bench) -> None:
    waiting = asyncio.Event()

    async def fail_later(report: PassReport) -> None:
        if report.pass_id == "1":
            assert bench.value("running_rows") == 0
            report.error = "unreachable"
        if report.pass_id == "2":
            waiting.set()
            await asyncio.Event().wait()

    bench.start(FakeApp(fail_later), Every(timedelta(milliseconds=20)))
    async with deadline():
        await waiting.wait()

    assert bench.value("running_rows") is None


async def test_a_good_pass_resets_the_count_of_failures(bench: Bench) -> None:
    async def fail_now_and_then(report: PassReport) -> None:
        report.error = "unreachable" if report.pass_id in ("0", "2") else None

    app = FakeApp(fail_now_and_then)
    with capture_logs() as lines:
        bench.start(app, Every(timedelta(seconds=1)))
        await times(app, 4)

    failed = [line for line in lines if line["event"] == "pass_failed"]
    assert [line["failures"] for line in failed] == [1, 1]


async def test_a_good_pass_is_known_without_a_probe_and_ends_what_failed(bench: Bench) -> None:
    bench.start(FakeApp(well), HOURLY)
    bench.health.record.failed(DATABASE, "away")

    async def is_known() -> bool:
        return bench.health.last_good is not None

    await eventually(is_known)
    assert bench.health.record.failing_since(DATABASE) is None


async def test_a_loop_that_ends_stops_its_pass_once_and_waits_for_it(bench: Bench) -> None:
    asked: list[str] = []

    async def stop_when_asked(report: PassReport) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.append("stop")
            await asyncio.sleep(0.05)
            report.stop()

    app = FakeApp(stop_when_asked)
    running = bench.start(app)
    await times(app, 1)
    running.cancel()
    await asyncio.wait([running])

    assert asked == ["stop"]
    assert app.passes[0].stopped
    assert app.did == ["release"], "stopped is not failed: no back-off"


async def test_a_pass_that_does_not_stop_is_cancelled_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_TIMEOUT", 0.01)

    async def stubborn(report: PassReport) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    app = FakeApp(stubborn)
    running = bench.start(app)
    await times(app, 1)
    running.cancel()
    async with deadline():
        await asyncio.wait([running])

    assert app.did == ["release"]


async def test_a_lost_lease_stops_the_pass(bench: Bench) -> None:
    stopped = asyncio.Event()

    async def until_stopped(report: PassReport) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            report.stop()
            stopped.set()

    app = FakeApp(until_stopped)
    bench.start(app)
    await times(app, 1)
    app.epoch = None
    async with deadline():
        await stopped.wait()

    assert app.stuck_counts.by_reason is None, "another replica counts now"


async def test_a_pass_stopped_by_a_lost_lease_is_not_cancelled_again(
    bench: Bench,
) -> None:
    """It would give up its write."""
    asked: list[str] = []
    stopped, may_end = asyncio.Event(), asyncio.Event()

    async def stops_slowly(report: PassReport) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.append("stop")
            stopped.set()
        try:
            await may_end.wait()
        except asyncio.CancelledError:
            asked.append("give up")
        report.stop()

    app = FakeApp(stops_slowly)
    running = bench.start(app)
    await times(app, 1)
    app.epoch = None
    async with deadline():
        await stopped.wait()
        app.epoch = 2
        await refused(app, 3)
        app.epoch = None
        await refused(app, 3)
        running.cancel()
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        await asyncio.wait([running])

    assert asked == ["stop"]


@pytest.mark.parametrize("back", ["while the pass stops", "later"])
async def test_a_pass_stopped_by_a_lost_lease_is_made_up_for(bench: Bench, back: str) -> None:
    stopped = asyncio.Event()

    async def until_stopped(report: PassReport) -> None:
        if report.pass_id == "1":
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if back == "later":
                app.epoch = None
            else:
                await refused(app, 3)
            report.stop()
            stopped.set()

    app = FakeApp(until_stopped)
    bench.start(app, HOURLY)
    await times(app, 1)
    app.epoch = 2  # another replica has held it meanwhile
    async with deadline():
        await stopped.wait()
    if back == "later":
        await refused(app, 3)
        app.epoch = 3
    await times(app, 2)


async def refused(app: FakeApp, claims: int) -> None:
    """Wait for this many more claims."""
    before = app.claims

    async def asked() -> bool:
        return app.claims >= before + claims

    await eventually(asked)


async def test_a_pass_longer_than_the_interval_is_counted_and_logged(bench: Bench) -> None:
    app = FakeApp(lambda _: asyncio.sleep(0.05))
    with capture_logs() as lines:
        bench.start(app, Every(timedelta(milliseconds=20)))
        await times(app, 3)

    assert (bench.value("pass_overruns_total") or 0) >= 2
    assert any(line["event"] == "pass_overran" for line in lines)


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(1, 2.5, 7.5), (2, 5, 15), (4, 20, 60), (5, 30, 90), (99, 30, 90)],
)
def test_retry_delays_double_up_to_a_limit_with_jitter(
    failures: int, least: float, most: float
) -> None:
    delays = [retry_delay(failures) for _ in range(200)]

    assert least <= min(delays) < max(delays) <= most
    assert max(delays) > 1.5 * min(delays), "replicas must not retry in step"


class TestOverdue:
    """A holder that starts no pass when one is due releases the lease."""

    @pytest.fixture
    def steady(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The steady clock of the loop only, not of the scheduler or the keeper."""
        now = [1000.0]
        monkeypatch.setattr(module, "steady", lambda: now[0])
        return now

    async def test_releases_the_lease_and_claims_it_again(
        self, bench: Bench, steady: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease_module, "STAND_BACK", 0.05)
        app = FakeApp(well)
        with capture_logs() as lines:
            bench.start(app, HOURLY)
            await times(app, 1)
            await refused(app, 3)
            assert app.did == [], "none is due"

            steady[0] += 3600 + 5
            await times(app, 2)

        errors = [line["event"] for line in lines if line["log_level"] == "error"]
        assert errors == ["lease_given_up"]
        assert app.did == ["release"]
        assert bench.health.keeper is not None
        assert bench.health.keeper.gave_up_at is None, "a pass has started since"

    async def test_a_running_pass_is_not_overdue(self, bench: Bench, steady: list[float]) -> None:
        async def for_long(report: PassReport) -> None:
            await asyncio.Event().wait()

        app = FakeApp(for_long)
        bench.start(app, HOURLY)
        await times(app, 1)
        steady[0] += 10 * 3600
        await refused(app, 5)

        assert app.did == []

    async def test_the_end_of_a_long_pass_is_not_overdue(
        self, bench: Bench, steady: list[float]
    ) -> None:
        async def for_long(report: PassReport) -> None:
            steady[0] += 10 * 3600

        app = FakeApp(for_long)
        bench.start(app, HOURLY)
        await times(app, 1)
        await refused(app, 5)

        assert app.did == []

    async def test_a_back_off_is_not_overdue(
        self, bench: Bench, steady: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(schedule_module, "FIRST_RETRY", 0.5)

        async def fail_once(report: PassReport) -> None:
            if report.pass_id == "0":
                report.error = "Temporal is unreachable"
                steady[0] += 10 * 3600

        app = FakeApp(fail_once)
        with capture_logs() as lines:
            bench.start(app, HOURLY)
            await times(app, 2)
            await refused(app, 3)

        assert [line for line in lines if line["log_level"] == "error"] == []
        assert app.did == ["release", "forget connections"]
