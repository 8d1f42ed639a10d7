"""Every row is described in time, and passes share the rows evenly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model import RowId
from reconciler.core.report.sweep import Sweep, Swept, next_sweep

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
INTERVAL = timedelta(minutes=10)

ROWS: list[list[RowId]] = [
    list(range(1, 2001)),
    [f"order-{number}" for number in range(2000)],
    [UUID(int=number) for number in range(2000)],
]


@given(st.floats(min_value=1, max_value=150), st.integers(0, 2000), st.floats(0, 1))
def test_no_row_waits_longer_than_the_interval(every: float, row: int, late: float) -> None:
    """Even a row at the end of a pass that takes as long as the distance between passes."""
    distance = timedelta(seconds=every)
    last, now, described = Swept(NOW, end=0.99), NOW, [NOW]
    while now < NOW + 4 * INTERVAL:
        now += distance
        sweep = next_sweep(last, now, INTERVAL)
        last = Swept(now, sweep.end)
        if sweep.is_due(row):
            described.append(now + late * distance)

    waits = [after - before for before, after in pairwise(described)]
    assert waits
    assert max(waits[1:], default=timedelta()) <= INTERVAL


@pytest.mark.parametrize("ids", ROWS, ids=["numbers", "texts", "uuids"])
def test_each_pass_describes_an_equal_share(ids: list[RowId]) -> None:
    sweeps, last = [], Swept(NOW, end=0.7)
    for number in range(1, 17):
        sweeps.append(next_sweep(last, NOW + number * timedelta(seconds=30), INTERVAL))
        last = Swept(NOW + number * timedelta(seconds=30), sweeps[-1].end)

    shares = [sum(map(sweep.is_due, ids)) / len(ids) for sweep in sweeps]

    assert all(sweep.share == pytest.approx(30 / 480) for sweep in sweeps)
    assert sum(shares) == pytest.approx(1, abs=0.001), "a round, and nobody twice in it"
    assert min(shares) > 0.5 * 30 / 480
    assert max(shares) < 1.5 * 30 / 480


def test_no_row_waits_longer_if_a_pass_is_late_now_and_then() -> None:
    last, now, described = Swept(NOW, end=0.99), NOW, {row: [NOW] for row in range(200)}
    while now < NOW + 4 * INTERVAL:
        for distance in [*[10] * 58, 60]:
            now += timedelta(seconds=distance)
            sweep = next_sweep(last, now, INTERVAL)
            last = Swept(now, sweep.end)
            for row in filter(sweep.is_due, described):
                described[row].append(now)

    waits = [after - before for times in described.values() for before, after in pairwise(times)]
    assert max(waits) <= INTERVAL


def test_a_pass_after_one_that_failed_makes_up_for_it() -> None:
    last = Swept(NOW, end=0.2)

    sweep = next_sweep(last, NOW + timedelta(seconds=60), INTERVAL)

    assert sweep == Sweep(start=0.2, share=60 / 480)
    assert sweep.share == 2 * next_sweep(last, NOW + timedelta(seconds=30), INTERVAL).share


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (None, "nothing is known of a pass before"),
        (Swept(NOW - timedelta(minutes=4), 0.5), "the next pass may be too late for some"),
        (Swept(NOW - timedelta(days=4), 0.5), "the last pass is long ago"),
        (Swept(NOW, 0.5), "two passes at the same time"),
        (Swept(NOW + timedelta(seconds=1), 0.5), "clocks differ"),
    ],
)
def test_in_doubt_every_row_is_due(last: Swept | None, why: str) -> None:
    sweep = next_sweep(last, NOW, INTERVAL)

    assert sweep.is_full, why
    assert all(sweep.is_due(row) for row in range(1000))


def test_without_an_interval_every_row_is_due() -> None:
    assert next_sweep(Swept(NOW - timedelta(seconds=30), 0.5), NOW, timedelta()).is_full
