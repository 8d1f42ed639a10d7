from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from benchmarks.fleet.exactness import Expected
from benchmarks.fleet.scripted_worker import MISSING, FleetProbe
from reconciler.core.model import Closed, Missing, RunRow


@pytest.mark.parametrize(
    ("rows", "missing", "written", "calls", "ranges"),
    [
        (200_000, 2_000, 2_000 + 1_980, 202_000, 20 + 8),
        (2_000_000, 20_000, 20_000 + 19_800, 2_020_000, 200 + 8),
    ],
)
def test_what_has_to_be_counted(
    rows: int, missing: int, written: int, calls: int, ranges: int
) -> None:
    expected = Expected(rows)

    found = expected.missing, expected.written, expected.calls, expected.ranges
    assert found == (missing, written, calls, ranges)


async def test_as_many_rows_have_ended_as_have_to_be_written() -> None:
    expected, probe = Expected(100_000), FleetProbe()
    created_at = datetime.now(UTC)

    def row(number: int) -> RunRow:
        name = MISSING if number <= expected.missing else "order"
        return RunRow(number, f"{name}-{number}", None, created_at)

    found = Counter(
        [type(await probe.observe(row(number))) for number in range(1, expected.rows + 1)]
    )

    assert found[Missing] == expected.missing
    assert found[Closed] + found[Missing] == expected.written
    assert probe.rpcs() == {"describe": expected.rows}
