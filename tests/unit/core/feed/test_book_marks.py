"""Up to which close time the book lets the feed save its marks."""

from __future__ import annotations

import pytest

from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Listing
from reconciler.core.feed.ended import Ended
from reconciler.core.model import CloseStatus
from tests.support.books import COMPLETED, FAILED, GRACE, at, look_up, regular, resumed, settle
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW


class TestMarks:
    def test_a_cold_start_takes_the_newest_close_time_of_each_status(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.show(*(closing(-seconds) for seconds in range(9, 1000)))

        assert set(book.listings(NOW).values()) == {Listing(None, 1, 1)}
        visibility.poll(book, 0)

        look_up(book, 0)
        assert book.marks() == {COMPLETED: NOW - at(9)}
        assert not book.is_behind

    def test_after_a_cold_start_closings_before_the_mark_may_be_shown_late(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.show(closing(-1, "newest"), closing(-400, "old"))
        visibility.poll(book, 0)

        visibility.show(closing(-290, "late"))

        assert set(visibility.poll(book, 1)) == {"late", "newest"}

    def test_after_a_cold_start_closings_are_listed_whose_rows_were_too_young(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, grace=at(900))
        visibility.show(closing(-1, "newest"), closing(-880, "young"))
        visibility.poll(book, 0)

        assert set(visibility.poll(book, 1)) == {"young", "newest"}

    def test_closings_of_a_status_that_had_none_are_all_listed(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.poll(book, 0)
        assert book.marks() == {}

        visibility.show(*(closing(n / 10, f"wf-{n}") for n in range(2000)))

        assert len(visibility.poll(book, 200)) == 2000

    def test_a_process_that_resumes_lists_five_minutes_before_the_marks(self) -> None:
        visibility = Visibility()
        visibility.show(closing(-301, "before"), closing(-299, "late"), closing(30, "since"))

        assert visibility.poll(resumed(), 60) == ["late", "since"]

    def test_a_process_that_resumes_lists_all_of_a_status_that_had_no_closings(self) -> None:
        visibility, book = Visibility(), Book({COMPLETED: NOW}, NOW, GRACE)
        visibility.show(closing(-9999, "failed"), status=FAILED)

        assert visibility.poll(book, 1) == ["failed"]

    def test_nothing_that_needs_a_look_is_above_the_mark_of_its_status(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "first"), closing(2, "second"))
        visibility.show(closing(3, "failed"), status=FAILED)
        visibility.poll(book, 5)
        assert book.marks() == dict.fromkeys(CloseStatus, NOW) | {
            COMPLETED: NOW + at(1),
            FAILED: NOW + at(3),
        }

        look_up(book, 5, "second")
        assert book.marks()[COMPLETED] == NOW + at(2)

        visibility.show(closing(7, "third"))
        visibility.poll(book, 10)
        settle(book, 10, Ended.TRY_AGAIN, "second")
        assert book.marks()[COMPLETED] == NOW + at(2)

        settle(book, 20, Ended.WRITTEN, "second")
        look_up(book, 20)
        assert book.marks()[COMPLETED] == NOW + at(7)

    def test_a_close_time_in_the_future_moves_the_mark_to_two_seconds_from_now(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(9999, "future"))

        assert visibility.poll(book, 5) == ["future"]
        look_up(book, 5)
        assert book.marks()[COMPLETED] == NOW + at(7)

        visibility.show(closing(6, "next"))
        assert visibility.poll(book, 9) == ["next"]

    @pytest.mark.parametrize("skew", [-3600, 3600])
    def test_the_clock_of_temporal_is_measured(self, skew: float) -> None:
        visibility, book = Visibility(), resumed(skew)
        visibility.poll(book, 0)
        for second in range(1, 10):
            visibility.show(closing(skew + second, f"wf-{second}"))
            visibility.poll(book, second)
        assert book.skew == at(skew)

        visibility.show(closing(99999))
        visibility.poll(book, 10)
        look_up(book, 10)
        assert book.marks()[COMPLETED] == NOW + at(10 + skew + 2)

    def test_a_closing_that_is_shown_late_does_not_move_the_mark_back(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(-3))
        visibility.poll(book, 1)
        settle(book, 1, Ended.WRITTEN)

        assert book.marks()[COMPLETED] == NOW
