"""The database's clock, and the host's beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.connection.clock import DatabaseClock
from reconciler.postgres.connection.engine import open_engine
from tests.conftest import Database

MINUTE = timedelta(minutes=1)
SLACK = timedelta(seconds=30)  # on a machine that has other things to do


class Host:
    """A host's clocks: one that can be set, and a steady one."""

    def __init__(self) -> None:
        self.ahead, self.elapsed = timedelta(), 1000.0

    def time(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def clock(self, database: Database) -> DatabaseClock:
        return DatabaseClock(database.engine, self.time, lambda: self.elapsed)


@pytest.mark.parametrize("ahead", [timedelta(), 10 * MINUTE, timedelta(days=-9000)], ids=str)
async def test_it_is_read_whatever_the_hosts_says(database: Database, ahead: timedelta) -> None:
    host = Host()
    host.ahead = ahead
    clock = host.clock(database)
    now = await clock.read()

    assert abs(datetime.now(UTC) - now) < SLACK
    assert now.tzinfo is not None
    assert clock.ahead is not None
    assert abs(clock.ahead - ahead) < SLACK


async def test_between_readings_it_goes_by_the_steady_clock(database: Database) -> None:
    host = Host()
    clock = host.clock(database)
    read = await clock.read()
    host.ahead = timedelta(days=1)
    host.elapsed += 90

    assert clock.now() - read == timedelta(seconds=90)


async def test_before_the_first_reading_there_is_only_the_hosts(database: Database) -> None:
    host = Host()
    host.ahead = timedelta(days=1)
    clock = host.clock(database)

    assert abs(clock.now() - host.time()) < SLACK
    assert clock.ahead is None


async def warnings(database: Database, *ahead: float) -> list[float | None]:
    """The logged differences for a host that is N seconds ahead at each reading."""
    host = Host()
    clock = host.clock(database)
    with capture_logs() as lines:
        for seconds in ahead:
            host.ahead = timedelta(seconds=seconds)
            await clock.read()
    return [line.get("host_ahead_seconds") for line in lines]


@pytest.mark.parametrize(
    ("ahead", "logged"),
    [
        pytest.param([0, 1, -1], [], id="as good as the same"),
        pytest.param([600, 600, 601, 599], [600], id="once, not in each pass"),
        pytest.param([-600, -600], [-600], id="behind"),
        pytest.param([600, 7200, 7200], [600, 7200], id="again when it is set"),
        pytest.param([600, -600], [600, -600], id="the other way"),
        pytest.param([600, 0, 0, 600], [600, None, 600], id="right, and wrong again"),
        pytest.param(range(5, 1000, 5), None, id="a drift is logged now and then"),
    ],
)
async def test_a_host_that_differs_is_a_warning_once(
    database: Database, ahead: list[float], logged: list[float | None] | None
) -> None:
    seen = await warnings(database, *ahead)

    if logged is None:
        assert 5 < len(seen) < 20
    else:
        assert seen == [each if each is None else pytest.approx(each, abs=30) for each in logged]


async def test_a_database_that_is_gone_has_no_clock() -> None:
    engine = open_engine("postgresql://u@127.0.0.1:1/d")
    with pytest.raises(DatabaseUnusable, match="cannot read the database's clock"):
        await DatabaseClock(engine).read()
    await engine.dispose()
