"""Closings whose rows are running, until they are settled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.feed.book import Book
from reconciler.core.feed.ended import Ended, WaitUntil
from tests.support.books import COMPLETED, FAILED, at, look_up, regular, settle
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW


class TestHits:
    @pytest.mark.parametrize("end", [Ended.WRITTEN, Ended.OPEN, Ended.DROP])
    def test_what_is_settled_is_not_due_again(self, end: Ended) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)

        settle(book, 2, end)

        assert book.pending == book.late == 0
        assert book.due(NOW + at(3600)) == []

    def test_what_is_not_settled_stays_due(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))

        assert visibility.poll(book, 2) == ["wf"]
        assert look_up(book, 2, "wf") == ["wf"]
        assert look_up(book, 3, "wf") == ["wf"]
        assert book.pending == 1

    def test_a_row_that_is_too_young_waits(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, WaitUntil(NOW + at(50)))

        assert book.due(NOW + at(49)) == []
        assert look_up(book, 50) == ["wf"]

    def test_a_row_that_stays_too_young_is_left_to_the_sweep(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 0)
        for seconds in range(0, 660, 60):
            settle(book, seconds, WaitUntil(NOW + at(seconds + 60)))
        assert book.pending == 1

        settle(book, 660, WaitUntil(NOW + at(661)))

        assert book.pending == 0

    def test_a_row_that_is_too_young_for_no_known_time_is_looked_at_less_and_less(self) -> None:
        visibility, looks = Visibility(), 0
        book = Book({}, NOW, timedelta(hours=1))
        visibility.poll(book, 0)
        visibility.show(closing(1))
        visibility.poll(book, 5)
        for seconds in range(5, 3600, 5):
            if book.due(NOW + at(seconds)):
                settle(book, seconds, WaitUntil(NOW + at(seconds + 5)))
                looks += 1

        assert book.pending == 1
        assert looks < 80

    def test_a_row_that_is_too_young_for_hours_is_left_to_the_sweep_at_once(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 0)

        settle(book, 0, WaitUntil(NOW + at(7200)))

        assert book.pending == 0

    def test_a_row_without_a_usable_answer_is_tried_less_and_less_for_ten_minutes(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        tries = []
        for second in range(2, 1000):
            if book.due(NOW + at(second)):
                tries.append(second)
                settle(book, second, Ended.TRY_AGAIN)

        assert tries == [2, 7, 17, 37, *range(77, 602, 60)]
        assert book.pending == 0
        assert book.marks()[COMPLETED] == NOW + at(1)

    def test_an_outage_of_the_database_uses_up_no_patience(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)

        settle(book, 3600, Ended.TRY_AGAIN)

        assert book.marks()[COMPLETED] == NOW + at(1)
        assert look_up(book, 3605) == ["wf"]

    def test_closings_of_one_workflow_id_get_one_look(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1), closing(2), closing(3))
        visibility.show(closing(4), status=FAILED)

        assert visibility.poll(book, 5) == ["wf"]
        settle(book, 5, Ended.WRITTEN)

        assert book.pending == 0

    def test_a_closing_that_is_listed_during_a_look_gets_its_own(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        [first] = book.due(NOW + at(2))
        book.looked_up([first], [first], NOW + at(2))
        visibility.show(closing(3))
        visibility.poll(book, 4)

        book.settled(first, Ended.WRITTEN, NOW + at(4))

        assert look_up(book, 5, "wf") == ["wf"]
        assert book.marks()[COMPLETED] == NOW + at(3)

    def test_a_new_closing_of_a_row_that_waits_is_due_at_once(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, WaitUntil(NOW + at(50)))

        visibility.show(closing(3))

        assert visibility.poll(book, 4) == ["wf"]

    def test_so_it_does_if_the_look_up_before_it_found_no_row(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        first = book.due(NOW + at(2))
        visibility.show(closing(3))
        visibility.poll(book, 4)

        book.looked_up(first, (), NOW + at(4))

        assert (book.pending, book.late) == (1, 0)

    def test_the_time_for_which_a_row_waits_may_be_over_by_this_clock(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, WaitUntil(NOW))

        assert book.due(NOW + at(2)) == []
        assert look_up(book, 3) == ["wf"]
