"""Spans of rows that get a second look: what they store, and how both looks add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from reconciler.core.model import Finish, LeaveReason, RowId
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.tally import Tally
from tests.support.factories import NOW, finish, row

DELETED, EXPIRED, OPEN = LeaveReason.DELETED, LeaveReason.EXPIRED, LeaveReason.OPEN
HOUR = timedelta(hours=1)


def failing(id_: int, reason: LeaveReason = DELETED, age: timedelta | None = HOUR) -> Finish:
    return finish(row(id_, age=age), missing=reason, status="failed")


def span(after: RowId | None, until: RowId, missing: Sequence[Finish] = (), **left: int) -> Span:
    """A page with these missing rows, and others that were left."""
    first = Tally(len(missing) + sum(left.values()))
    first.left.update({LeaveReason(reason): count for reason, count in left.items()})
    first.add_set_aside(missing)
    made = Span(after, until, first)
    made.add_failing(missing)
    return made


class TestAPage:
    def test_counts_what_it_would_fail_by_reason(self) -> None:
        page = span(None, 4, [failing(1), failing(2, EXPIRED)], deleted=1, open=1)

        assert page.failing == {DELETED: 1, EXPIRED: 1}
        assert page.to_recheck == 4

    def test_knows_when_the_oldest_that_it_would_fail_was_created(self) -> None:
        aged = [failing(1, age=HOUR), failing(2, age=3 * HOUR), failing(3, age=2 * HOUR)]

        assert span(None, 4, aged).oldest_failing == NOW - 3 * HOUR
        assert span(None, 4, [failing(1, age=None)]).oldest_failing is None
        assert span(None, 4).oldest_failing is None


class TestBothLooks:
    def test_before_the_second_it_is_the_first(self) -> None:
        page = span(None, 3, [failing(1)], open=2)

        assert page.tally == page.first

    def test_during_the_second_each_row_counts_once(self) -> None:
        page = span(None, 4, [failing(1), failing(2)], open=2)
        page.second.written["failed"] = 1
        page.second.left[OPEN] = 1

        assert (page.tally.written, page.tally.left.total()) == ({"failed": 1}, 3)
        assert page.tally.scanned == page.tally.ends == 4
        assert page.to_recheck == 2

    def test_a_row_that_was_lost_at_the_first_and_written_at_the_second_is_written(self) -> None:
        page = span(None, 2, [failing(1)])
        page.first.lost_races, page.first.scanned = 1, 2
        page.second.written.update(failed=1, completed=1)

        assert page.tally.lost_races == 0
        assert page.tally.scanned == page.tally.ends == 2

    def test_a_row_that_was_written_at_the_first_stays_written(self) -> None:
        page = span(None, 2, [failing(1)])
        page.first.written["completed"], page.first.scanned = 1, 2
        page.second.written["failed"] = 1

        assert page.final_tally.written == {"completed": 1, "failed": 1}
        assert page.to_recheck == 0

    def test_in_the_end_a_row_that_was_not_found_again_is_a_lost_race(self) -> None:
        page = span(None, 3, [failing(1), failing(2)], open=1)
        page.second.written["failed"] = 1

        done = page.final_tally
        assert (done.written, done.left, done.lost_races) == ({"failed": 1}, {}, 2)
        assert done.scanned == done.ends == 3

    def test_rows_found_only_by_the_second_count_as_scanned(self) -> None:
        page = span(None, 2, [failing(1)])
        page.second.written["failed"] = 2

        assert page.tally.scanned == page.final_tally.scanned == 2
        assert page.final_tally.lost_races == 0


class TestSpans:
    def test_adjacent_pages_are_one_span(self) -> None:
        progress = Progress()
        progress.set_aside(span(None, 2, [failing(1)], open=1))
        progress.set_aside(span(2, 5, [failing(3, EXPIRED, 5 * HOUR), failing(4)]))

        (kept,) = progress.to_recheck
        assert (kept.after, kept.until, kept.to_recheck) == (None, 5, 4)
        assert kept.first.left == {DELETED: 2, OPEN: 1, EXPIRED: 1}
        assert kept.failing == {DELETED: 2, EXPIRED: 1}
        assert kept.oldest_failing == NOW - 5 * HOUR

    def test_pages_with_another_between_them_are_two_spans(self) -> None:
        progress = Progress()
        progress.set_aside(span(None, 2, [failing(1)]))
        progress.set_aside(span(4, 6, [failing(5)]))
        progress.set_aside(span(6, 8, [failing(7)]))

        assert [(each.after, each.until) for each in progress.to_recheck] == [(None, 2), (4, 8)]

    @pytest.mark.parametrize(
        ("first", "second", "oldest"),
        [(2, 1, 2), (1, 2, 2), (None, 1, 1), (1, None, 1), (None, None, None)],
    )
    def test_a_joined_span_has_the_oldest_of_both(
        self, first: int | None, second: int | None, oldest: int | None
    ) -> None:
        ages = [None if hours is None else hours * HOUR for hours in (first, second)]
        kept = span(None, 1, [failing(1, age=ages[0])])
        kept.join(span(1, 2, [failing(2, age=ages[1])]))

        assert kept.oldest_failing == (oldest and NOW - oldest * HOUR)


@pytest.mark.parametrize(
    ("progress", "more"),
    [
        (Progress(), False),
        (Progress(Span(None, 1)), True),
        (Progress(None, [Span(None, 1)]), True),
    ],
)
def test_more_is_left_while_there_are_rows_to_look_at(progress: Progress, more: bool) -> None:
    assert progress.more_left is more


def test_a_tally_less_some_rows_keeps_the_written_ones() -> None:
    tally = Tally(6, written=Counter(completed=1), left=Counter({OPEN: 2, DELETED: 2}))
    tally.lost_races = 1

    assert tally.less(3).left.total() == 1
    assert tally.less(5).ends == 1
    assert tally.less(9).written == {"completed": 1}
    assert tally.ends == 6, "a copy"
