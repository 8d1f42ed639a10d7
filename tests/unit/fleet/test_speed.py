"""How many ranges a run of the workflow takes."""

from __future__ import annotations

import pytest

from reconciler.fleet.messages import ranges_per_run


@pytest.mark.parametrize(
    ("workers", "ranges"),
    [(1, 200), (10, 200), (50, 1000), (100, 2000), (1000, 2000), (3000, 3000)],
)
def test_few_are_idle_at_the_end_and_the_history_stays_short(workers: int, ranges: int) -> None:
    assert ranges_per_run(workers) == ranges
