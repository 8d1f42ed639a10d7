"""Counting verdicts, and what a write returned."""

from __future__ import annotations

from datetime import timedelta

from reconciler.core.model import Leave, LeaveReason
from reconciler.core.report.tally import Tally
from reconciler.core.window import AgeSpread
from tests.support.factories import NOW, finish, row

HOUR = timedelta(hours=1)


def test_what_the_write_returned_counts_not_what_was_asked() -> None:
    tally = Tally()
    asked = [finish(row(1)), finish(row(2), status="failed"), finish(row(3)), finish(row(4))]

    tally.add_written(asked, written={1, 2}, refused={4})

    assert tally.written == {"completed": 1, "failed": 1}
    assert tally.lost_races == 1
    assert tally.left == {LeaveReason.UNKNOWN: 1}
    assert tally.refused == 1
    assert tally.less(1).refused == 0
    tally.add_ends(tally)
    assert tally.refused == 2


def test_the_oldest_row_that_is_left_is_recorded() -> None:
    tally = Tally()
    assert tally.oldest_left is None

    tally.add_left([Leave(row(1, age=None), LeaveReason.OPEN)])
    assert tally.oldest_left is None

    tally.add_left([Leave(row(2, age=2 * HOUR), LeaveReason.OPEN)])
    tally.add_left([Leave(row(3, age=HOUR), LeaveReason.OPEN)])
    assert tally.oldest_left == NOW - 2 * HOUR

    refused, lost = (finish(row(i, age=i * HOUR)) for i in (4, 9))
    tally.add_written([refused, lost], written=set(), refused={4})
    assert tally.oldest_left == NOW - 4 * HOUR, "a lost race is no longer running"


def test_rows_that_visibility_shows_as_open_are_screened() -> None:
    tally = Tally()

    tally.add_left(
        [Leave(row(1), LeaveReason.OPEN), Leave(row(2), LeaveReason.OPEN, screened=True)]
    )

    assert (tally.screened, tally.left) == (1, {LeaveReason.OPEN: 2})


class TestMissingRows:
    def test_have_an_oldest_and_a_newest(self) -> None:
        spread = AgeSpread()
        for id_, hours in enumerate((2, 1, 5, 3), start=1):
            spread = spread.plus(AgeSpread.of(row(id_, age=hours * HOUR)))
        spread = spread.plus(AgeSpread.of(row(5, age=None)))

        assert spread == AgeSpread(5, NOW - 5 * HOUR, NOW - HOUR)

    def test_without_a_creation_time_are_only_counted(self) -> None:
        assert AgeSpread.of(row(1, age=None)) == AgeSpread(1, None, None)

    def test_are_those_left_and_those_failed_by_their_reason(self) -> None:
        tally = Tally()
        failing = finish(row(1, age=3 * HOUR), missing=LeaveReason.DELETED)
        leaves = [Leave(row(2), LeaveReason.DELETED), Leave(row(3), LeaveReason.TOO_YOUNG)]

        tally.add_set_aside([failing])
        tally.add_left(leaves)

        assert tally.missing[LeaveReason.DELETED] == AgeSpread(2, NOW - 3 * HOUR, NOW - HOUR)
        assert tally.missing[LeaveReason.EXPIRED] == AgeSpread()
        assert tally.missing[LeaveReason.NEVER_STARTED] == AgeSpread()
        assert tally.left == {LeaveReason.DELETED: 2, LeaveReason.TOO_YOUNG: 1}


def test_tallies_add_up() -> None:
    one, other = Tally(scanned=1), Tally(scanned=1, screened=1, lost_races=1)
    one.add_left([Leave(row(1, age=HOUR), LeaveReason.EXPIRED)])
    other.add_left([Leave(row(2, age=2 * HOUR), LeaveReason.EXPIRED)])

    one.add(other)

    assert (one.scanned, one.screened, one.lost_races) == (2, 1, 1)
    assert one.left == {LeaveReason.EXPIRED: 2}
    assert one.missing[LeaveReason.EXPIRED] == AgeSpread(2, NOW - 2 * HOUR, NOW - HOUR)
    assert one.oldest_left == NOW - 2 * HOUR
