from __future__ import annotations

import pytest

from benchmarks.figures import Figure, Goal, amount, at_least, at_most


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (at_least(0.9), 0.9, True),
        (at_least(0.9), 0.899, False),
        (at_least(0.9), 2, True),
        (at_most(30), 30, True),
        (at_most(30), 30.1, False),
        (at_most(0), 0, True),
        (at_most(0), 1, False),
    ],
)
def test_a_goal_is_met_at_its_limit_and_on_the_right_side_of_it(
    goal: Goal, value: float, met: bool
) -> None:
    assert goal.is_met(value) is met


@pytest.mark.parametrize(
    ("goal", "value", "share"),
    [
        (at_least(10), 20, 2),
        (at_least(10), 5, 0.5),
        (at_most(100), 50, 2),
        (at_most(100), 200, 0.5),
        (at_most(30), 0, float("inf")),
        (at_most(0), 0, float("inf")),
        (at_most(0), 2, 0),
    ],
)
def test_what_is_reached_is_one_or_more_where_the_goal_is_met(
    goal: Goal, value: float, share: float
) -> None:
    assert goal.reached(value) == share
    assert (share >= 1) == goal.is_met(value)


def test_a_goal_is_asked_of_the_ratio_where_there_is_one() -> None:
    by_ratio = Figure("once", 1_200, "rows/s", 0.8, "of the ceiling", at_least(0.9))
    by_value = Figure("memory", 20, "MB", goal=at_most(30, "MB"))

    assert (by_ratio.is_met, by_ratio.verdict) == (False, "missed")
    assert (by_value.is_met, by_value.verdict) == (True, "met")


def test_a_figure_without_a_goal_is_neither_met_nor_missed() -> None:
    figure = Figure("naive loop", 160, "rows/s")

    assert (figure.is_met, figure.verdict, figure.comparison) == (None, "", "")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (34_490.4, "rows/s", "34,490 rows/s"),
        (12.345, "×", "12.3×"),
        (0.876, "×", "0.88×"),
        (2.0, "", "2"),
    ],
)
def test_numbers_are_told_with_the_digits_that_count(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text
