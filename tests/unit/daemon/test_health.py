"""When a replica is alive, and when it is ready."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from reconciler.app.app import App
from reconciler.app.lease import LeaseKeeper
from reconciler.core.errors import DatabaseUnusable, TemporalUnusable
from reconciler.core.ports import Heartbeat
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.stuck.condition import Reason
from reconciler.daemon import health as module
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.daemon.health import Health, scrape
from reconciler.daemon.schedule import Every
from reconciler.passes.stuck import StuckCounts
from reconciler.web.metrics.feed import FeedGauges, FollowedNamespace
from reconciler.web.metrics.passes import PassMetrics
from tests.support.factories import NOW

INTERVAL = timedelta(seconds=30)


@dataclass
class FakeKeeper:
    holds: bool = True
    is_standby: bool = False
    last_error: str | None = None
    renewed_at: float = field(default_factory=time.monotonic)
    gave_up_at: float | None = None


@dataclass
class FakeClock:
    time: datetime = NOW
    ahead: timedelta | None = None
    error: Exception | None = None

    async def read(self) -> datetime:
        if self.error:
            raise self.error
        self.ahead = timedelta(seconds=-90)
        return self.time

    def now(self) -> datetime:
        return self.time


@dataclass
class FakeRpc:
    rate: float = 100.0
    ended_calls: Counter[tuple[str, str]] = field(
        default_factory=lambda: Counter({("describe", "OK"): 3})
    )


@dataclass
class FakeApp:
    beat: Heartbeat | Exception | None = None
    temporal: Exception | None = None
    retention: timedelta = timedelta(days=1)
    rpc: FakeRpc = field(default_factory=FakeRpc)
    feed_rpc: FakeRpc = field(
        default_factory=lambda: FakeRpc(ended_calls=Counter({("list", "OK"): 5}))
    )
    undecoded: int | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    stuck_counts: StuckCounts = field(default_factory=StuckCounts)

    @property
    def history(self) -> FakeApp:
        return self

    async def heartbeat(self) -> Heartbeat | None:
        if isinstance(self.beat, Exception):
            raise self.beat
        return self.beat

    async def check_temporal(self) -> None:
        if self.temporal:
            raise self.temporal


def beat(age: timedelta, duration: timedelta = timedelta(seconds=1)) -> Heartbeat:
    return Heartbeat(NOW - age, duration, NOW, "p")


def make(app: FakeApp | None = None, keeper: FakeKeeper | None = None) -> Health:
    health = Health(Every(INTERVAL), CollectorRegistry())
    health.app, health.keeper = cast("App | None", app), cast("LeaseKeeper | None", keeper)
    return health


async def scraped(health: Health) -> str:
    return (await scrape(health.registry, [health])).decode()


@pytest.mark.parametrize(
    ("role", "last", "ready"),
    [
        pytest.param("holder", beat(timedelta(seconds=90)), True, id="three passes ago"),
        pytest.param("holder", beat(timedelta(seconds=94)), False, id="longer ago"),
        pytest.param("waiting", beat(timedelta(seconds=90)), True, id="has just failed"),
        pytest.param("waiting", beat(timedelta(seconds=94)), False, id="fails for long"),
        pytest.param(
            "holder",
            beat(timedelta(seconds=600), timedelta(seconds=200)),
            True,
            id="longer ago, but passes are long",
        ),
        pytest.param("holder", None, False, id="none yet"),
        pytest.param("standby", None, True, id="standby, none yet"),
        pytest.param("standby", beat(timedelta(days=1)), True, id="standby, the holder fails"),
    ],
)
async def test_a_holder_is_ready_if_good_passes_come_in_time_and_a_standby_always(
    role: str, last: Heartbeat | None, ready: bool
) -> None:
    keeper = FakeKeeper(holds=role == "holder", is_standby=role == "standby")
    is_ready, answer = await make(FakeApp(beat=last), keeper).readiness()

    assert is_ready is ready
    assert answer["role"] == role
    assert (answer["why"] is None) is ready
    assert answer["last_good_pass"] == (last and last.finished_at.isoformat())


@pytest.mark.parametrize("holds", [True, False], ids=["holder", "standby"])
@pytest.mark.parametrize(
    "app",
    [
        pytest.param(FakeApp(beat=DatabaseUnusable("database unreachable")), id="database"),
        pytest.param(
            FakeApp(beat(INTERVAL), TemporalUnusable("Temporal unreachable")), id="Temporal"
        ),
    ],
)
async def test_a_replica_that_cannot_reach_both_servers_is_not_ready(
    app: FakeApp, holds: bool
) -> None:
    health = make(app, FakeKeeper(holds))
    ready, answer = await health.readiness()

    assert not ready
    assert "unreachable" in answer["why"]
    (error,) = health.record.errors
    assert error.what in ("PostgreSQL", "Temporal")
    assert error.text == answer["why"]


@pytest.mark.parametrize("is_standby", [True, False])
async def test_a_replica_that_cannot_claim_the_lease_is_not_ready(is_standby: bool) -> None:
    keeper = FakeKeeper(is_standby=is_standby, last_error="cannot execute INSERT in a read-only")
    ready, answer = await make(FakeApp(beat(INTERVAL)), keeper).readiness()

    assert (ready, answer["why"]) == (False, keeper.last_error)


async def test_only_the_clock_of_the_database_decides_whether_a_pass_is_late() -> None:
    app = FakeApp(beat(timedelta(seconds=1)))
    app.clock.time = NOW + timedelta(days=1)

    assert (await make(app, FakeKeeper()).readiness())[0]


async def test_a_server_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(FakeApp):
        async def heartbeat(self) -> Heartbeat | None:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.01)
    ready, answer = await make(Silent(), FakeKeeper()).readiness()

    assert (ready, answer["why"]) == (False, "no answer within 0.01 s")


@dataclass
class FakeFeedLoop:
    why_failing: str | None = None

    def gauges(self) -> FeedGauges:
        return FeedGauges(INTERVAL, [FollowedNamespace("default", lag=INTERVAL)])


@pytest.mark.parametrize("why", [None, "namespace default: away"])
async def test_a_feed_that_fails_is_reported_by_a_replica_that_is_ready(why: str | None) -> None:
    health = make(FakeApp(beat(timedelta(seconds=1))), FakeKeeper())
    health.feed = cast("FeedLoop", FakeFeedLoop(why))

    ready, answer = await health.readiness()

    assert (ready, answer["why"], answer["feed"]) == (True, None, why)
    lag = 'reconciler_feed_lag_seconds{temporal_namespace="default"} 30.0'
    assert lag in await scraped(health)


async def test_before_both_servers_are_connected_the_answer_names_the_one_awaited() -> None:
    health = make()
    health.not_connected(DatabaseUnusable("the database is unreachable"))

    assert await health.readiness() == (
        False,
        {"role": "starting", "why": "the database is unreachable"},
    )
    assert health.why_stalled() is None, "waiting is not a stall"


@pytest.mark.parametrize("is_standby", [True, False])
async def test_a_replica_that_starts_no_pass_is_not_ready_and_after_a_while_dead(
    is_standby: bool,
) -> None:
    keeper = FakeKeeper(holds=False, is_standby=is_standby, gave_up_at=time.monotonic() - 50)
    health = make(FakeApp(beat(timedelta(seconds=1))), keeper)

    ready, answer = await health.readiness()
    assert (ready, answer["why"]) == (False, "a pass was due, and none was started")
    assert health.why_stalled() is None

    keeper.gave_up_at = time.monotonic() - 70
    assert health.why_stalled() == "a pass was due, and none was started"


@pytest.mark.parametrize(("idle", "dead"), [(50, False), (70, True)])
def test_a_loop_that_does_not_renew_the_lease_is_dead(idle: float, dead: bool) -> None:
    health = make(FakeApp(), FakeKeeper(renewed_at=time.monotonic() - idle))

    assert bool(health.why_stalled()) is dead


async def test_a_pass_counts_once_its_metrics_are_there() -> None:
    """The database has its end earlier, but readiness and metrics must agree."""
    health = make(FakeApp(beat=beat(timedelta(seconds=1))), FakeKeeper())
    health.passes = metrics = PassMetrics(health.registry, "run", lambda: NOW)
    report = PassReport("p", PassRequest("run"), started_at=NOW)
    await metrics.on_start(report)

    ready, answer = await health.readiness()
    early = await scraped(health)
    await metrics.on_pass(report)

    assert (ready, answer["why"]) == (False, "no pass has come to its end yet")
    assert "\nreconciler_last_good_pass_timestamp_seconds" not in early
    assert (await health.readiness())[0]
    assert "\nreconciler_running_rows 0" in await scraped(health)


async def test_a_running_pass_does_not_hide_the_one_before() -> None:
    health = make(FakeApp(beat=beat(timedelta(seconds=1))), FakeKeeper())
    health.passes = metrics = PassMetrics(health.registry, "run", lambda: NOW)
    await metrics.on_start(PassReport("next", PassRequest("run"), started_at=NOW))

    assert (await health.readiness())[0]


async def test_a_scrape_has_the_last_good_pass_of_any_replica() -> None:
    last = beat(timedelta(seconds=10))
    text = await scraped(make(FakeApp(beat=last), FakeKeeper(holds=False)))

    def sample(name: str) -> float:
        return float(text.partition(f"\n{name} ")[2].split()[0])

    assert sample("reconciler_last_good_pass_timestamp_seconds") == last.finished_at.timestamp()
    assert sample("reconciler_lease_held") == 0
    assert sample("reconciler_interval_seconds") == 30
    assert sample("reconciler_retention_seconds") == 86400
    assert sample("reconciler_rate_limit_rps") == 100
    assert sample("reconciler_clock_skew_seconds") == -90, "on a standby too"
    assert 'reconciler_rpcs_total{code="OK",method="describe"} 3.0' in text
    assert 'reconciler_rpcs_total{code="OK",method="list"} 5.0' in text


@pytest.mark.parametrize(("holds", "rows"), [(True, 3), (False, None)])
async def test_only_the_replica_that_passes_shows_stuck_rows(holds: bool, rows: int | None) -> None:
    app = FakeApp(stuck_counts=StuckCounts({Reason.NO_WORKER: (3, NOW - INTERVAL)}))
    health = make(app, FakeKeeper(holds=holds))
    await health.refresh()

    value, of = health.registry.get_sample_value, {"reason": "NoWorker"}
    assert value("reconciler_open_rows", of) == rows
    assert value("reconciler_stuck_oldest_seconds", of) == (30 if holds else None)


async def test_metrics_can_be_read_while_the_database_is_unreachable() -> None:
    app = FakeApp(beat=beat(timedelta(seconds=10)))
    health = make(app, FakeKeeper())
    await health.refresh()
    app.beat = app.clock.error = DatabaseUnusable("unreachable")

    text = await scraped(health)

    assert "reconciler_last_good_pass_timestamp_seconds 1" in text, "the last known value"


async def test_metrics_before_anything_is_connected() -> None:
    text = await scraped(make())

    assert "reconciler_lease_held 0.0" in text
    assert "\nreconciler_last_good_pass_timestamp_seconds" not in text
