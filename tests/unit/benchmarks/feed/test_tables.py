from __future__ import annotations

import pytest

from benchmarks.feed.tables import Written, found_by_the_feed, percentile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0], 50, 1.0),
        (list(range(1, 101)), 99, 99),
        ([7.0], 99, 7),
    ],
)
def test_a_percentile_is_one_of_the_values(
    values: list[float], percent: int, expected: float
) -> None:
    assert percentile(values, percent) == expected


def test_the_goal_is_that_the_feed_finds_every_row() -> None:
    rows = [Written("order-1", 0.4, "feed"), Written("order-2", 30.0, "sweep")]

    assert found_by_the_feed("rows", rows).is_met is False
    assert found_by_the_feed("rows", rows[:1]).is_met is True
