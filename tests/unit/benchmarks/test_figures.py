from __future__ import annotations

import pytest

from benchmarks.figures import Figure, Goal, amount, at_least, at_most


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (at_least(0.9), 0.9, True),
        (at_least(0.9), 0.899, False),
        (at_most(30), 30, True),
        (at_most(30), 30.1, False),
    ],
)
def test_a_bound_includes_its_limit(goal: Goal, value: float, met: bool) -> None:
    assert goal.is_met(value) is met


def test_a_goal_applies_to_the_ratio_if_there_is_one() -> None:
    with_ratio = Figure("once", 1_200, "rows/s", 0.8, "of the ceiling", at_least(0.9))
    without = Figure("memory", 20, "MB", goal=at_most(30, "MB"))

    assert (with_ratio.is_met, without.is_met) == (False, True)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (34_490.4, "rows/s", "34,490 rows/s"),
        (12.345, "×", "12.3×"),
        (0.876, "×", "0.88×"),
        (2.0, "", "2"),
    ],
)
def test_an_amount_has_three_significant_digits(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text
