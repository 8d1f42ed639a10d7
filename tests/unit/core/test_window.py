from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.window import AgeSpread
from tests.support.factories import NOW

HOUR = timedelta(hours=1)


def test_a_sum_reaches_from_the_oldest_to_the_newest() -> None:
    early = AgeSpread(2, oldest=NOW - 9 * HOUR, newest=NOW - 4 * HOUR)
    late = AgeSpread(3, oldest=NOW - 6 * HOUR, newest=NOW)

    both = AgeSpread(5, oldest=NOW - 9 * HOUR, newest=NOW)
    assert early.plus(late) == late.plus(early) == both


@pytest.mark.parametrize("nothing", [AgeSpread(), AgeSpread(2)], ids=["no rows", "no times"])
def test_rows_without_a_creation_time_change_no_bound(nothing: AgeSpread) -> None:
    some = AgeSpread(3, oldest=NOW - HOUR, newest=NOW)

    both = AgeSpread(3 + nothing.rows, oldest=NOW - HOUR, newest=NOW)
    assert some.plus(nothing) == nothing.plus(some) == both


def test_the_sum_of_no_rows_is_no_rows() -> None:
    assert AgeSpread().plus(AgeSpread()) == AgeSpread()
