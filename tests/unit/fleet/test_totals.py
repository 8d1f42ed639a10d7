"""What the runs of the workflow hand on stays small, whatever the keys are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from reconciler.fleet.messages import Span
from reconciler.fleet.totals import Totals, no_counts

#: Bytes that Temporal accepts.
LIMIT = 2 * 2**20


@pytest.mark.parametrize(
    ("length", "kept"), [(8, 2_000), (2_000, 63)], ids=["short keys", "long keys"]
)
def test_spans_are_kept_apart_until_they_are_too_many_or_too_long(length: int, kept: int) -> None:
    def key(number: float) -> str:
        return f"{number:010}".ljust(length, "\N{SNOWMAN}")

    totals = Totals()
    for number in range(2_500):
        after, middle, until = key(number), key(number + 0.5), key(number + 1)
        counts = replace(no_counts(), to_recheck=[Span(middle, until)])
        totals.add(counts, [Span(after, until)])

    again = Totals(totals.as_counts())
    assert again.spans == totals.spans
    assert (len(again.spans), again.spans[-1].until) == (kept, key(2_500))
    assert len(json.dumps(asdict(again.as_counts())).encode()) < LIMIT
