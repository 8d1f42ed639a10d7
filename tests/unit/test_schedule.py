from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.errors import ConfigurationError
from reconciler.schedule import Cron, Every, parse_cron
from tests.factories import NOW


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
def test_cron_means_what_it_means_to_cron(expression: str, count: int, due: datetime) -> None:
    assert Cron(expression).due_after(WEDNESDAY, count) == due


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        pytest.param("", "it takes minute, hour, day of month, month and weekday", id="empty"),
        pytest.param("@daily", "it takes minute", id="a nickname"),
        pytest.param("* * * * * *", "it takes minute", id="seconds"),
        pytest.param("99 * * * *", "bad minute", id="no such minute"),
        pytest.param("0 3 30 2 *", "bad day-of-month", id="a day that never comes"),
        pytest.param("every 5 min or so", "bad minute", id="prose"),
    ],
)
def test_nonsense_is_refused(expression: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_cron(expression, NOW)

    assert str(refused.value).startswith(f"--cron {expression!r}: ")
    assert told in str(refused.value)
