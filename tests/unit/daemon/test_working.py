"""What the page says about this process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from reconciler.app.overview.model import DatedError, State, Working
from reconciler.app.overview.parts import PassesOfAll
from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable, TemporalUnusable
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.daemon.health import Health
from reconciler.daemon.working import Places, Unreachable, read_working
from reconciler.postgres.journal.recent import FailedPass
from reconciler.web.metrics.feed import FeedGauges, FollowedNamespace
from tests.support.factories import NOW
from tests.unit.daemon.test_health import INTERVAL, FakeApp, FakeKeeper, beat, make

PLACES = Places("db:5432/app", "temporal:7233, namespace default")
SECOND = timedelta(seconds=1)


class FakeFeedLoop:
    def __init__(self, gauges: FeedGauges, why: str | None = None) -> None:
        self._gauges, self.why_failing = gauges, why

    def gauges(self) -> FeedGauges:
        return self._gauges


def connected(keeper: FakeKeeper | None = None, age: timedelta = SECOND) -> Health:
    app = FakeApp(beat(age))
    app.journals = True  # type: ignore[attr-defined]
    health = make(app, keeper or FakeKeeper())
    health.waiting_for, health.last_good = None, beat(age)
    health.record.clock = lambda: NOW
    return health


def working(health: Health, **given: Any) -> Working:
    given.setdefault("unreachable", Unreachable())
    return read_working(health, PLACES, **given)


def history(**given: Any) -> PassesOfAll:
    return PassesOfAll(**{"holder": None, "last_began": None, "last_failed": None} | given)


def test_before_a_server_was_tried() -> None:
    found = working(make(), unreachable=None)

    assert (found.state, found.role) == (State.STARTING, "starting")
    assert found.headline == "Starting: connecting to both servers"
    assert [each.reachable for each in found.servers] == [None, None]


@pytest.mark.parametrize("database", [True, False])
def test_the_server_that_a_start_waits_for_is_named_with_its_place(database: bool) -> None:
    health = make()
    health.not_connected(DatabaseUnusable("refused") if database else TemporalUnusable("refused"))
    found = working(health, unreachable=None)

    name, place = ("PostgreSQL", PLACES.database) if database else ("Temporal", PLACES.temporal)
    assert found.state is State.STARTING
    assert found.headline == f"Starting: waiting for {name} at {place}: refused"
    assert {each.name: each.reachable for each in found.servers} == {
        "PostgreSQL": False if database else None,
        "Temporal": None if database else False,
    }
    assert [(each.text, each.over) for each in found.errors] == [("refused", False)]


def test_a_target_that_a_server_rejects_is_not_running() -> None:
    health = make()
    health.rejected(DatabaseUnfit("no table", "migrate"))
    found = working(health, unreachable=None)

    assert (found.state, found.headline) == (State.NOT_RUNNING, "Not running: no table: migrate")
    assert [(each.what, each.over) for each in found.errors] == [("settings", False)]


def test_a_loop_that_a_bug_has_ended_is_not_running_until_it_starts_again() -> None:
    health = connected()
    app, keeper, feed = health.app, health.keeper, health.feed
    health.crashed(ZeroDivisionError("by zero"), 5 * SECOND)
    found = working(health, unreachable=None)

    assert found.state is State.NOT_RUNNING
    assert found.headline == (
        "Not running: internal error: ZeroDivisionError('by zero'); started again in 5 s"
    )
    assert [(each.what, each.over) for each in found.errors] == [("loop", False)]

    health.connected(
        cast("Any", app), cast("Any", keeper), health.pass_metrics(), cast("Any", feed)
    )
    assert working(health).state is State.WORKING


def test_a_holder_whose_passes_come_in_time_works() -> None:
    health = connected()
    health.record.pass_began_at = NOW - SECOND
    found = working(health, passes=history(holder="here/1", last_began=NOW - 9 * SECOND))

    assert (found.state, found.role, found.holder) == (State.WORKING, "holder", "here/1")
    assert (found.last_good_at, found.last_good_pass) == (NOW - SECOND, "p")
    assert found.next_pass_at == NOW - SECOND + INTERVAL
    assert [each.reachable for each in found.servers] == [True, True]
    assert found.errors == ()


def test_a_standby_shows_the_passes_of_others() -> None:
    health = connected(FakeKeeper(holds=False, is_standby=True))
    found = working(health, passes=history(holder="there/1", last_began=NOW - SECOND))

    assert (found.state, found.role) == (State.STANDBY, "standby")
    assert found.next_pass_at == NOW - SECOND + INTERVAL

    failed = FailedPass(NOW, "Temporal is unreachable")
    found = working(health, passes=history(holder="there/1", last_failed=failed))
    assert found.state is State.FAILING
    assert found.errors == (DatedError(NOW, "pass", "Temporal is unreachable"),)


def test_a_failed_pass_is_a_present_trouble_until_one_is_good() -> None:
    health = connected(age=timedelta())
    health.record.failed("pass", "a bug, see the log")
    health.record.retry_at = NOW + 5 * SECOND
    health.last_good = beat(SECOND)
    failing = working(health)
    assert (failing.state, failing.next_pass_at) == (State.FAILING, NOW + 5 * SECOND)

    health.record.retry_at, health.record.pass_began_at = NOW - SECOND, NOW
    assert working(health).next_pass_at == NOW + INTERVAL, "another replica may have taken over"

    health.last_good = beat(-SECOND)
    good = working(health, passes=history(last_failed=FailedPass(NOW - SECOND, "older")))
    assert good.state is State.WORKING
    over = DatedError(NOW, "pass", "a bug, see the log", over=True)
    assert good.errors == (over,), "with its time"


@pytest.mark.parametrize(
    ("unreachable", "lease"),
    [
        (Unreachable(database="away"), None),
        (Unreachable(temporal="away"), None),
        (Unreachable(), "away"),
    ],
)
def test_a_server_or_a_lease_that_cannot_be_used(
    unreachable: Unreachable, lease: str | None
) -> None:
    found = working(connected(FakeKeeper(last_error=lease)), unreachable=unreachable)

    assert found.state is State.FAILING
    assert found.headline.endswith("away")


def test_passes_that_do_not_start_are_no_failure() -> None:
    found = working(connected(FakeKeeper(gave_up_at=0.0)))
    assert found.state is State.NOT_RUNNING

    found = working(connected(age=timedelta(hours=1)))
    assert (found.state, found.headline) == (
        State.NOT_RUNNING,
        "Not running: 3 passes are overdue",
    )


def test_the_first_pass_is_a_part_of_the_start() -> None:
    health = connected()
    health.last_good = None

    assert working(health).state is State.STARTING


FOLLOWED = FollowedNamespace("a", lag=SECOND), FollowedNamespace("b", lag=4 * SECOND)


@pytest.mark.parametrize(
    ("gauges", "why", "standby", "sentence", "lag"),
    [
        (FeedGauges(timedelta()), None, False, "off (RECONCILER_FEED_INTERVAL is 0)", None),
        (FeedGauges(SECOND, FOLLOWED[:1]), None, False, "followed", SECOND),
        (FeedGauges(SECOND, FOLLOWED), None, False, "followed in 2 namespaces", 4 * SECOND),
        (FeedGauges(SECOND, FOLLOWED), "away", False, "not followed: away", 4 * SECOND),
        (FeedGauges(SECOND), None, True, "followed by the replica", None),
        (FeedGauges(SECOND), None, False, "not followed yet", None),
    ],
)
def test_the_feed_in_a_sentence(
    gauges: FeedGauges, why: str | None, standby: bool, sentence: str, lag: timedelta | None
) -> None:
    health = connected(FakeKeeper(holds=not standby, is_standby=standby))
    health.feed = cast("FeedLoop", FakeFeedLoop(gauges, why))
    found = working(health)

    assert found.feed.startswith(sentence)
    assert found.feed_lag == lag
    assert found.state is (State.FAILING if why else State.STANDBY if standby else State.WORKING)


def test_before_the_servers_were_asked_neither_answers_or_does_not() -> None:
    health = connected()
    health.record.failed("PostgreSQL", "away at the start")

    found = working(health, unreachable=None)
    assert [each.reachable for each in found.servers] == [None, None]


def test_errors_of_what_works_again_are_over() -> None:
    health = connected()
    for what in ("lease", "PostgreSQL", "Temporal"):
        health.record.failed(what, what)

    found = working(health, unreachable=Unreachable(temporal="away"))
    assert {each.what for each in found.errors if not each.over} == {"Temporal"}


def test_the_five_newest_errors_are_shown() -> None:
    health, time = connected(), NOW
    health.record.clock = lambda: time
    for what in ("pass", "feed", "lease", "PostgreSQL", "Temporal", "more"):
        time += SECOND
        health.record.failed(what, what)

    shown = [each.what for each in working(health).errors]
    assert shown == ["more", "Temporal", "PostgreSQL", "lease", "feed"]
