"""Clocks that differ: which skew is a warning, and which a failure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.own_use import CLOCK_SKEW
from reconciler.doctor.findings import Level
from reconciler.doctor.rules.clocks import host_clock, temporal_clock

GRACE, NONE = timedelta(seconds=60), timedelta(0)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("ahead", "uncertainty", "level"),
    [
        pytest.param(0, 0.001, Level.OK, id="the same"),
        pytest.param(-2, 0, Level.OK, id="within the tolerance"),
        pytest.param(5, 3, Level.OK, id="within the uncertainty"),
        pytest.param(5, 2, Level.WARNING, id="beyond the uncertainty"),
        pytest.param(-3, 0.1, Level.WARNING, id="behind"),
        pytest.param(59, 0, Level.WARNING, id="ahead by less than the grace"),
        pytest.param(60, 0, Level.FAILURE, id="ahead by the grace"),
        pytest.param(70, 20, Level.WARNING, id="ahead by the grace, within the uncertainty"),
        pytest.param(-600, 0, Level.WARNING, id="behind by more than the grace"),
    ],
)
def test_this_hosts_clock_against_the_databases(
    ahead: float, uncertainty: float, level: Level
) -> None:
    finding = host_clock(seconds(ahead), seconds(uncertainty), GRACE)

    assert finding.level is level
    assert ("NTP" in finding.fix) is (level is not Level.OK)


def test_the_message_says_which_clock_is_ahead() -> None:
    assert "30 s ahead of" in host_clock(seconds(30), NONE, GRACE).message
    assert "30 s behind" in host_clock(seconds(-30), NONE, GRACE).message


@pytest.mark.parametrize(
    ("after_insert", "future", "level"),
    [
        pytest.param([], 0, Level.SKIPPED, id="nothing to compare"),
        pytest.param([0.2], 0, Level.OK, id="started at once"),
        pytest.param([-600, 600, -0.1], 0, Level.OK, id="one close to its row is enough"),
        pytest.param([CLOCK_SKEW.total_seconds() * -1], 0, Level.OK, id="within the skew"),
        pytest.param([-2.1, -90], 0, Level.WARNING, id="all before their rows"),
        pytest.param([60], 0, Level.OK, id="within the grace"),
        pytest.param([61, 90], 0, Level.WARNING, id="all long after their rows"),
        pytest.param([0.2], 2.1, Level.WARNING, id="started in the future"),
    ],
)
def test_temporals_clock_by_start_times(
    after_insert: list[float], future: float, level: Level
) -> None:
    finding = temporal_clock([seconds(each) for each in after_insert], seconds(future), GRACE)

    assert finding.level is level


def test_a_difference_of_hours_is_a_time_zone_if_creation_times_have_none() -> None:
    finding = temporal_clock([seconds(5 * 3600 + 1)], NONE, GRACE, "UTC")

    assert "created_at seems to be in another time zone than UTC" in finding.message
    assert finding.fix == "set RECONCILER_TIME_ZONE to the application's"
    assert "NTP" in str(temporal_clock([seconds(61)], NONE, GRACE, "UTC").fix)


def test_without_start_times_it_is_not_measurable() -> None:
    assert temporal_clock([], NONE, GRACE).message.startswith("not measurable: ")
