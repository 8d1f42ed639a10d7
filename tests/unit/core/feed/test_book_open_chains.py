"""Closings of workflows that turn out to be open."""

from __future__ import annotations

import pytest

from reconciler.core.feed.book import Book
from reconciler.core.feed.ended import Ended
from reconciler.core.model import CloseStatus
from tests.support.books import COMPLETED, FAILED, at, look_up, regular, settle
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW


class TestOpenChains:
    def open_times(
        self,
        book: Book,
        visibility: Visibility,
        times: int,
        status: CloseStatus = FAILED,
    ) -> float:
        """Find a chain open this many times in a row; return when the last time was."""
        second = 0
        for _ in range(times):
            second += 1
            visibility.show(closing(second), status=status)
            visibility.poll(book, second)
            while not book.due(NOW + at(second)):
                second += 1
            settle(book, second, Ended.OPEN)
        return second

    @pytest.mark.parametrize(
        ("times", "wait"),
        [(0, 0), (1, 0), (2, 30), (3, 60), (4, 120), (5, 240), (6, 480), (7, 600), (8, 600)],
    )
    def test_their_next_closing_waits_longer_each_time(self, times: int, wait: float) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, times)
        visibility.show(closing(last + 0.5), status=FAILED)
        visibility.poll(book, last + 0.5)
        visibility.show(closing(last + 0.6), status=FAILED)
        visibility.poll(book, last + 0.6)

        assert not wait or book.due(NOW + at(last + wait - 1)) == []
        assert look_up(book, last + max(wait, 1)) == ["wf"]

    def test_ticks_of_a_cron_schedule_wait_too(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 3, COMPLETED)
        visibility.show(closing(last + 1), status=COMPLETED)

        assert visibility.poll(book, last + 59) == []

    def test_the_closing_that_waits_holds_the_mark(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 3)
        visibility.show(closing(last + 1), closing(last + 2, "other"), status=FAILED)
        visibility.poll(book, last + 2)
        look_up(book, last + 2)

        assert book.marks()[FAILED] == NOW + at(last + 1)

    def test_a_closing_of_another_status_is_due_at_once(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 5)
        visibility.show(closing(last + 1), status=FAILED)
        assert visibility.poll(book, last + 1) == []

        visibility.show(closing(last + 2), status=COMPLETED)

        assert visibility.poll(book, last + 2) == ["wf"]

    def test_a_closing_that_was_found_open_before_it_does_not_delay_it(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 5)
        visibility.show(closing(last + 1), status=COMPLETED)
        assert visibility.poll(book, last + 1) == ["wf"]

        visibility.show(closing(last + 2), status=FAILED)

        assert visibility.poll(book, last + 2) == ["wf"]

    def test_any_other_end_of_a_look_makes_them_due_at_once_again(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 4)
        visibility.show(closing(last + 1), status=FAILED)
        visibility.poll(book, last + 1)
        settle(book, last + 120, Ended.WRITTEN)

        for seconds in (121, 123):
            visibility.show(closing(last + seconds), status=FAILED)
            assert visibility.poll(book, last + seconds) == ["wf"]
            settle(book, last + seconds, Ended.OPEN)

    def test_are_forgotten_in_time(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        for n in range(100):
            visibility.show(closing(n, f"cron-{n}"))
            visibility.poll(book, n)
            settle(book, n, Ended.OPEN, f"cron-{n}")
        visibility.show(closing(2000))
        visibility.poll(book, 2000)
        settle(book, 2000, Ended.OPEN)

        assert len(book._waiting._damping._open) == 1
