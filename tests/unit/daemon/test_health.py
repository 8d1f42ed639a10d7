"""When a replica is alive, and when it is ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from reconciler.app.lease import Keeper
from reconciler.app.wiring import App
from reconciler.core.errors import DatabaseUnusable, TemporalUnusable
from reconciler.core.ports import Heartbeat
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.daemon import health as module
from reconciler.daemon.health import Health
from reconciler.daemon.schedule import Every
from reconciler.web.metrics.passes import PassMetrics
from tests.support.factories import NOW

INTERVAL = timedelta(seconds=30)


@dataclass
class FakeKeeper:
    holds: bool = True
    stands_by: bool = False
    trouble: str | None = None
    turned_at: float = field(default_factory=time.monotonic)
    gave_up_at: float | None = None


@dataclass
class FakeClock:
    time: datetime = NOW
    ahead: timedelta | None = None
    trouble: Exception | None = None

    async def read(self) -> datetime:
        if self.trouble:
            raise self.trouble
        self.ahead = timedelta(seconds=-90)
        return self.time

    def now(self) -> datetime:
        return self.time


@dataclass
class FakeRpc:
    rate: float = 100.0
    ended_calls: Mapping[tuple[str, str], int] = field(
        default_factory=lambda: {("describe", "OK"): 3}
    )


@dataclass
class FakeApp:
    beat: Heartbeat | Exception | None = None
    temporal: Exception | None = None
    retention: timedelta = timedelta(days=1)
    rpc: FakeRpc = field(default_factory=FakeRpc)
    undecoded: int | None = None
    clock: FakeClock = field(default_factory=FakeClock)

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
    health.app, health.keeper = cast("App | None", app), cast("Keeper | None", keeper)
    return health


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
        pytest.param("standby", None, True, id="standing by, none yet"),
        pytest.param("standby", beat(timedelta(days=1)), True, id="standing by, the other fails"),
    ],
)
async def test_a_holder_is_ready_if_it_passes_in_time_and_a_standby_always(
    role: str, last: Heartbeat | None, ready: bool
) -> None:
    keeper = FakeKeeper(holds=role == "holder", stands_by=role == "standby")
    is_ready, told = await make(FakeApp(beat=last), keeper).readiness()

    assert is_ready is ready
    assert told["role"] == role
    assert (told["why"] is None) is ready
    assert told["last_good_pass"] == (last and last.finished_at.isoformat())


@pytest.mark.parametrize("holds", [True, False], ids=["holder", "standby"])
@pytest.mark.parametrize(
    "app",
    [
        pytest.param(FakeApp(beat=DatabaseUnusable("database away")), id="database"),
        pytest.param(FakeApp(beat(INTERVAL), TemporalUnusable("Temporal away")), id="Temporal"),
    ],
)
async def test_who_cannot_reach_both_sides_is_not_ready(app: FakeApp, holds: bool) -> None:
    ready, told = await make(app, FakeKeeper(holds)).readiness()

    assert not ready
    assert "away" in told["why"]


@pytest.mark.parametrize("stands_by", [True, False])
async def test_who_cannot_claim_the_lease_is_not_ready(stands_by: bool) -> None:
    keeper = FakeKeeper(stands_by=stands_by, trouble="cannot execute INSERT in a read-only")
    ready, told = await make(FakeApp(beat(INTERVAL)), keeper).readiness()

    assert (ready, told["why"]) == (False, keeper.trouble)


async def test_lateness_is_by_the_databases_clock_alone() -> None:
    app = FakeApp(beat(timedelta(seconds=1)))
    app.clock.time = NOW + timedelta(days=1)

    assert (await make(app, FakeKeeper()).readiness())[0]


async def test_a_side_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(FakeApp):
        async def heartbeat(self) -> Heartbeat | None:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.01)
    ready, told = await make(Silent(), FakeKeeper()).readiness()

    assert (ready, told["why"]) == (False, "no answer within 0 s")


async def test_before_both_sides_are_connected_it_says_what_it_waits_for() -> None:
    health = make()
    health.waiting_for = "the database is unreachable"

    assert await health.readiness() == (
        False,
        {"role": "starting", "why": "the database is unreachable"},
    )
    assert health.standstill() is None, "waiting is no standstill"


@pytest.mark.parametrize("stands_by", [True, False])
async def test_who_failed_to_start_a_pass_is_not_ready_and_in_the_end_dead(
    stands_by: bool,
) -> None:
    keeper = FakeKeeper(holds=False, stands_by=stands_by, gave_up_at=time.monotonic() - 50)
    health = make(FakeApp(beat(timedelta(seconds=1))), keeper)

    ready, told = await health.readiness()
    assert (ready, told["why"]) == (False, "a pass was due, and none was started")
    assert health.standstill() is None

    keeper.gave_up_at = time.monotonic() - 70
    assert health.standstill() == "a pass was due, and none was started"


@pytest.mark.parametrize(("idle", "dead"), [(50, False), (70, True)])
def test_a_loop_that_does_not_turn_is_dead(idle: float, dead: bool) -> None:
    health = make(FakeApp(), FakeKeeper(turned_at=time.monotonic() - idle))

    assert bool(health.standstill()) is dead


async def test_a_pass_counts_once_its_metrics_are_there() -> None:
    """Its end is in the database before: readiness and metrics must agree."""
    health = make(FakeApp(beat=beat(timedelta(seconds=1))), FakeKeeper())
    health.passes = metrics = PassMetrics(health.registry, "run", lambda: NOW)
    report = PassReport("p", PassRequest("run"), started_at=NOW)
    await metrics.on_start(report)

    ready, told = await health.readiness()
    early = (await health.scrape()).decode()
    await metrics.on_pass(report)

    assert (ready, told["why"]) == (False, "no pass has come to its end yet")
    assert "\nreconciler_last_good_pass_timestamp_seconds" not in early
    assert (await health.readiness())[0]
    assert "\nreconciler_running_rows 0" in (await health.scrape()).decode()


async def test_a_pass_under_way_takes_nothing_from_the_one_before() -> None:
    health = make(FakeApp(beat=beat(timedelta(seconds=1))), FakeKeeper())
    health.passes = metrics = PassMetrics(health.registry, "run", lambda: NOW)
    await metrics.on_start(PassReport("next", PassRequest("run"), started_at=NOW))

    assert (await health.readiness())[0]


async def test_the_scrape_knows_the_last_good_pass_of_all_replicas() -> None:
    last = beat(timedelta(seconds=10))
    text = (await make(FakeApp(beat=last), FakeKeeper(holds=False)).scrape()).decode()

    def sample(name: str) -> float:
        return float(text.partition(f"\n{name} ")[2].split()[0])

    assert sample("reconciler_last_good_pass_timestamp_seconds") == last.finished_at.timestamp()
    assert sample("reconciler_lease_held") == 0
    assert sample("reconciler_interval_seconds") == 30
    assert sample("reconciler_retention_seconds") == 86400
    assert sample("reconciler_rate_limit_rps") == 100
    assert sample("reconciler_clock_skew_seconds") == -90, "also on one that stands by"
    assert 'reconciler_rpcs_total{code="OK",method="describe"} 3.0' in text


async def test_a_database_that_is_away_does_not_keep_metrics_from_being_read() -> None:
    app = FakeApp(beat=beat(timedelta(seconds=10)))
    health = make(app, FakeKeeper())
    await health.scrape()
    app.beat = app.clock.trouble = DatabaseUnusable("away")

    text = (await health.scrape()).decode()

    assert "reconciler_last_good_pass_timestamp_seconds 1" in text, "as it was known last"


async def test_metrics_before_anything_is_connected() -> None:
    text = (await make().scrape()).decode()

    assert "reconciler_lease_held 0.0" in text
    assert "\nreconciler_last_good_pass_timestamp_seconds" not in text
