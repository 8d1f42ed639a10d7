"""Closings whose rows are not there yet."""

from __future__ import annotations

from reconciler.core.feed.ended import Ended
from tests.support.books import COMPLETED, at, look_up, regular, settle
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW


class TestLateRows:
    def test_are_looked_up_again_three_times(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)

        looks = [second for second in range(2, 1000) if look_up(book, second)]

        assert looks == [2, 7, 32, 302]
        assert book.late == 0

    def test_begin_again_with_a_new_closing(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        look_up(book, 2)
        visibility.show(closing(3))
        visibility.poll(book, 4)
        assert (book.pending, book.late) == (1, 0)

        assert [second for second in range(4, 1000) if look_up(book, second)] == [4, 9, 34, 304]

    def test_are_tried_as_often_as_others_once_they_are_found(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        assert [second for second in range(2, 100) if look_up(book, second)] == [2, 7, 32]
        settle(book, 302, Ended.TRY_AGAIN)

        assert look_up(book, 307) == ["wf"]

    def test_do_not_hold_the_mark(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "late"), closing(2, "later"))
        visibility.poll(book, 2)
        look_up(book, 2)

        assert (book.pending, book.late) == (0, 2)
        assert book.marks()[COMPLETED] == NOW + at(2)

    def test_hold_it_only_where_five_minutes_below_it_are_not_enough(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "late"))
        visibility.poll(book, 2)
        look_up(book, 2)
        visibility.show(closing(301.5, "other"))
        visibility.poll(book, 301.6)
        book.settled(book.due(NOW + at(301.6))[-1], Ended.DROP, NOW + at(301.6))

        assert book.marks()[COMPLETED] == NOW + at(301)

    def test_hold_it_as_soon_as_they_are_found(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1), closing(2, "other"))
        visibility.poll(book, 2)
        look_up(book, 2)

        look_up(book, 8, "wf")

        assert (book.pending, book.late) == (1, 1)
        assert book.marks()[COMPLETED] == NOW + at(1)
        settle(book, 9, Ended.WRITTEN)
        assert book.pending == 0

    def test_a_row_finished_meanwhile_is_as_good_as_late(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, Ended.TRY_AGAIN)

        look_up(book, 7)

        assert (book.pending, book.late) == (0, 1)
        assert [second for second in range(8, 1000) if look_up(book, second)] == [12, 37, 307]
