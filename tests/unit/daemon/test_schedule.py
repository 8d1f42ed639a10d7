from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.daemon.schedule import MAX_JITTER, Cron, Every, ahead, jitter, lag, parse_cron
from tests.support.factories import NOW


def november(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


WEDNESDAY = november(25, 12)


def test_an_interval_counts_from_the_start_of_the_last_pass() -> None:
    assert Every(timedelta(seconds=30)).due_after(NOW, 3) == NOW + timedelta(seconds=90)


@pytest.mark.parametrize(
    ("expression", "count", "due"),
    [
        pytest.param("*/5 * * * *", 1, november(25, 12, 5), id="strictly after"),
        pytest.param("*/5 * * * *", 3, november(25, 12, 15), id="the third"),
        pytest.param("0 3 * * 0", 1, november(29, 3), id="weekday 0 is Sunday"),
        pytest.param("0 3 * * 7", 1, november(29, 3), id="and so is 7"),
        pytest.param("0 3 13 * 5", 1, november(27, 3), id="a day or a weekday"),
    ],
)
def test_expressions_match_as_in_cron(expression: str, count: int, due: datetime) -> None:
    assert Cron(expression).due_after(WEDNESDAY, count) == due


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        pytest.param(
            "", "not five fields: give minute, hour, day of month, month and weekday", id="empty"
        ),
        pytest.param("@daily", "not five fields", id="a nickname"),
        pytest.param("* * * * * *", "not five fields", id="seconds"),
        pytest.param("99 * * * *", "bad minute", id="no such minute"),
        pytest.param("0 3 30 2 *", "bad day-of-month", id="a day that never comes"),
        pytest.param("every 5 min or so", "bad minute", id="prose"),
    ],
)
def test_an_invalid_expression_is_rejected(expression: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_cron(expression)

    assert str(refused.value).startswith(f"--cron {expression!r}: ")
    assert reason in str(refused.value)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("since", "wait"),
    [
        pytest.param(None, 30, id="the first"),
        pytest.param(0, 30, id="the last was in time"),
        pytest.param(2, 28, id="the last was late: the distance is from start to start"),
        pytest.param(30, 30, id="one was missed"),
        pytest.param(86_400, 30, id="a day was missed"),
    ],
)
def test_missed_intervals_are_not_made_up_for(since: float | None, wait: float) -> None:
    ago = None if since is None else seconds(since)

    assert Every(seconds(30)).wait(NOW, ago) == seconds(wait)


@pytest.mark.parametrize(
    ("now", "since", "due"),
    [
        pytest.param(november(25, 12), None, november(25, 12, 5), id="the first"),
        pytest.param(november(25, 12), 0, november(25, 12, 5), id="in time"),
        pytest.param(november(25, 12) - seconds(1), 0, november(25, 12, 5), id="a second early"),
        pytest.param(november(25, 12, 4), 240, november(25, 12, 5), id="late"),
        pytest.param(november(26, 12), 86_400, november(26, 12, 5), id="a day was missed"),
        pytest.param(november(20, 12), 0, november(20, 12, 5), id="the clock was set back"),
    ],
)
def test_missed_cron_times_are_not_made_up_for(
    now: datetime, since: float | None, due: datetime
) -> None:
    ago = None if since is None else seconds(since)

    assert now + Cron("*/5 * * * *").wait(now, ago) == due


@pytest.mark.parametrize("interval", [1, 30, 3600])
def test_a_pass_starts_within_the_interval_and_two_seconds(interval: int) -> None:
    late = [jitter(Every(seconds(interval))) for _ in range(200)]

    assert seconds(0) <= min(late) < max(late) <= min(MAX_JITTER, seconds(interval) / 10)
    assert jitter(Cron("* * * * *")) == seconds(0)


def test_targets_start_apart_and_all_of_them_within_the_time_between_two_polls() -> None:
    assert [lag(number / 4, 4) for number in range(4)] == [0, 0.25, 0.5, 0.75]
    assert [lag(number / 40, 40) for number in (0, 1, 39)] == pytest.approx([0, 0.125, 4.875])


def test_the_passes_of_targets_are_spread_over_the_interval() -> None:
    minute, cron = Every(seconds(60)), Cron("* * * * *")

    assert [ahead(minute, number / 4) for number in range(4)] == [*map(seconds, (0, 15, 30, 45))]
    assert [ahead(cron, number / 4) for number in range(4)] == [seconds(0)] * 4
    assert [jitter(cron, number / 4) for number in range(4)] == [
        *map(seconds, (0, 1.25, 2.5, 3.75))
    ]
