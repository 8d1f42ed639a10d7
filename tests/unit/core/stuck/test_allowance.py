from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.stuck.allowance import CHILDREN, HISTORIES, SAVED, Allowance


def taken(take: Callable[[], bool]) -> int:
    return next(count for count in range(10_000) if not take())


@pytest.fixture
def allowance() -> Allowance:
    return Allowance()


def test_a_small_table_may_cost_more_calls_than_it_has_rows(allowance: Allowance) -> None:
    assert taken(allowance.take_queue) == SAVED


def test_children_and_histories_are_limited_in_each_pass(allowance: Allowance) -> None:
    for _ in range(100):
        allowance.described(500)
        allowance.take_child()
        allowance.take_history()
    assert taken(allowance.take_child) == taken(allowance.take_history) == 0
    assert allowance.take_queue()

    allowance.start_pass()
    assert allowance.take_child()
    assert taken(allowance.take_child) == CHILDREN - 1
    allowance.described(500)
    assert taken(allowance.take_history) == HISTORIES


def test_calls_are_earned_by_rows_and_passes_and_few_are_saved(allowance: Allowance) -> None:
    taken(allowance.take_queue)
    allowance.described(24)
    assert not allowance.take_queue()
    allowance.described(1)
    assert allowance.take_queue()

    allowance.start_pass()
    assert taken(allowance.take_queue) == 1

    allowance.described(10_000)
    assert taken(allowance.take_queue) == SAVED


@pytest.mark.parametrize(
    ("passes", "rows"),
    [
        pytest.param(1, 10_000, id="one pass"),
        pytest.param(20, 500, id="in stretches"),
        pytest.param(96, 105, id="a round of an hour in passes of 30 seconds"),
    ],
)
def test_ten_thousand_rows_cost_five_percent_more_calls_at_most(
    allowance: Allowance, passes: int, rows: int
) -> None:
    extra = 0
    for _ in range(passes):
        allowance.start_pass()
        for _ in range(rows // 50):
            allowance.described(50)
            extra += sum(map(taken, (allowance.take_child, allowance.take_queue)))
    assert extra <= 500 + SAVED
    assert extra > 400
