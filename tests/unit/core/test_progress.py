"""Spans of rows: what is kept of a page for the second look, and what is taken back at it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from reconciler.core.model import Finish, Leave, LeaveReason, Verdict
from reconciler.core.progress import Progress, Span, Taken, is_missing, left_for, up_to
from tests.support.factories import NOW, finish, row

DELETED, EXPIRED, OPEN = LeaveReason.DELETED, LeaveReason.EXPIRED, LeaveReason.OPEN
HOUR = timedelta(hours=1)


def failing(id_: int, reason: LeaveReason = DELETED, age: timedelta | None = HOUR) -> Finish:
    return finish(row(id_, age=age), missing=reason, status="failed")


def left(id_: int, reason: LeaveReason = OPEN) -> Leave:
    return Leave(row(id_), reason)


class TestAPage:
    def test_has_left_whatever_was_not_written(self) -> None:
        verdicts: list[Verdict] = [finish(row(1)), left(2), left(3)]
        verdicts += [failing(4), failing(5, EXPIRED)]

        span = Span.of(None, 5, verdicts, written={1})

        assert (span.after, span.until, span.rows) == (None, 5, 4)
        assert span.left == {OPEN: 2, DELETED: 1, EXPIRED: 1}

    def test_has_left_what_was_refused_or_lost(self) -> None:
        span = Span.of(None, 3, [finish(row(i)) for i in (1, 2, 3)], written={1}, refused={2})

        assert (span.left, span.lost, span.rows) == ({LeaveReason.UNKNOWN: 1}, 1, 2)

    def test_would_fail_only_rows_that_are_missing_and_not_left_by_policy(self) -> None:
        span = Span.of(None, 3, [left(1, DELETED), failing(2), failing(3)])

        assert span.failing == {DELETED: 2}

    def test_knows_when_the_oldest_that_it_would_fail_was_created(self) -> None:
        aged = [failing(1, age=HOUR), failing(2, age=3 * HOUR), failing(3, age=2 * HOUR)]
        older = Leave(row(4, age=9 * HOUR), OPEN)

        assert Span.of(None, 4, [*aged, older]).oldest_failing == NOW - 3 * HOUR
        assert Span.of(None, 4, [failing(1, age=None)]).oldest_failing is None
        assert Span.of(None, 4, [older]).oldest_failing is None


class TestASecondLook:
    def test_crosses_off_the_rows_and_the_reasons_they_had(self) -> None:
        span = Span.of(None, 4, [left(1), left(2), failing(3), failing(4)])

        taken = span.take([OPEN, DELETED])

        assert taken == Taken(Counter({OPEN: 1, DELETED: 1}))
        assert (span.rows, +span.left) == (2, {OPEN: 1, DELETED: 1})

    @pytest.mark.parametrize("reason", [None, EXPIRED], ids=["closed since", "expired since"])
    def test_crosses_off_any_row_for_one_that_has_another_reason_now(
        self, reason: LeaveReason | None
    ) -> None:
        span = Span.of(None, 2, [left(1), failing(2)])

        taken = span.take([reason])

        assert taken.left.total() == 1
        assert span.rows == 1

    def test_crosses_off_what_was_lost_at_the_first_look(self) -> None:
        span = Span.of(None, 2, [finish(row(1)), left(2)])

        taken = span.take([None, OPEN])

        assert taken == Taken(Counter({OPEN: 1}), lost=1)
        assert span.rows == 0

    def test_knows_rows_that_have_turned_up_since(self) -> None:
        assert Span.of(None, 2, [left(1)]).take([OPEN, OPEN]) == Taken(Counter({OPEN: 1}), new=1)


class TestSpansThatAreKept:
    def test_are_one_if_they_touch(self) -> None:
        progress = Progress()
        progress.set_aside(Span.of(None, 2, [failing(1), left(2)]))
        lost = finish(row(5))
        progress.set_aside(Span.of(2, 5, [failing(3, EXPIRED, 5 * HOUR), failing(4), lost]))

        (span,) = progress.again
        assert (span.after, span.until, span.rows, span.lost) == (None, 5, 5, 1)
        assert span.left == {DELETED: 2, OPEN: 1, EXPIRED: 1}
        assert span.failing == {DELETED: 2, EXPIRED: 1}
        assert span.oldest_failing == NOW - 5 * HOUR

    def test_are_two_if_there_is_a_page_between_them(self) -> None:
        progress = Progress()
        progress.set_aside(Span.of(None, 2, [failing(1)]))
        progress.set_aside(Span.of(4, 6, [failing(5)]))
        progress.set_aside(Span.of(6, 8, [failing(7)]))

        assert [(span.after, span.until) for span in progress.again] == [(None, 2), (4, 8)]

    @pytest.mark.parametrize(
        ("first", "second", "oldest"),
        [(2, 1, 2), (1, 2, 2), (None, 1, 1), (1, None, 1), (None, None, None)],
    )
    def test_know_the_oldest_of_both(
        self, first: int | None, second: int | None, oldest: int | None
    ) -> None:
        ages = [None if hours is None else hours * HOUR for hours in (first, second)]
        span = Span.of(None, 1, [failing(1, age=ages[0])])
        span.join(Span.of(1, 2, [failing(2, age=ages[1])]))

        assert span.oldest_failing == (oldest and NOW - oldest * HOUR)


@pytest.mark.parametrize(
    ("progress", "more"),
    [
        (Progress(), False),
        (Progress(Span(None, 1)), True),
        (Progress(None, [Span(None, 1)]), True),
    ],
)
def test_more_is_left_while_something_is_to_be_looked_at(progress: Progress, more: bool) -> None:
    assert progress.more_left is more


def test_why_a_row_stays_for_now() -> None:
    assert left_for(left(1)) is OPEN
    assert left_for(failing(1, EXPIRED)) is EXPIRED
    assert left_for(finish(row(1))) is None


def test_only_a_row_that_would_be_failed_counts_as_missing() -> None:
    assert is_missing(failing(1))
    assert not is_missing(left(1, DELETED))
    assert not is_missing(finish(row(1)))


@pytest.mark.parametrize(
    ("limit", "rows"),
    [(0, [1]), (1, [1, 2, 3]), (2, [1, 2, 3, 4]), (3, [1, 2, 3, 4, 5, 6]), (9, [1, 2, 3, 4, 5, 6])],
)
def test_verdicts_up_to_a_limit_end_before_the_first_beyond_it(limit: int, rows: list[int]) -> None:
    verdicts: list[Verdict] = [left(1), finish(row(2)), left(3), finish(row(4)), finish(row(5))]
    verdicts.append(left(6))

    taken = up_to(limit, lambda verdict: isinstance(verdict, Finish), verdicts)

    assert list(taken) == [verdicts[id_ - 1] for id_ in rows]
