"""What the book keeps in memory has a limit, however much is closed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.feed import mark, waiting
from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Closing, Listed
from reconciler.core.model import CloseStatus
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW

COMPLETED = CloseStatus.COMPLETED
POLL, PER_POLL = timedelta(seconds=5), 100


@pytest.fixture
def book() -> Book:
    return Book({COMPLETED: NOW}, NOW, grace=timedelta(seconds=60))


def test_closings_are_forgotten_that_no_list_reaches(book: Book) -> None:
    visibility, found = Visibility(), 0
    for second in range(0, 3000, 5):
        visibility.show(*(closing(second + n / 10, f"wf-{second}-{n}") for n in range(10)))
        new = set(visibility.poll(book, second + 2))
        now = NOW + timedelta(seconds=second + 2)
        book.looked_up(book.due(now), (), now)
        found += sum(each.startswith(f"wf-{second}-") for each in new)

    assert found == 6000
    assert book.late <= 2 * (300 + 10)
    # at most twice the number that are in ten minutes, or a thousand
    assert len(book._marks[COMPLETED]._seen) <= 2 * 1200
    assert len(book._waiting._later) <= 3 * book.late


def test_closings_are_forgotten_that_are_more_than_a_list_holds(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mark, "_MOST_LISTED", 2000)
    monkeypatch.setattr(waiting, "MAX_WAITING", 3000)
    closings: list[Closing] = []
    for poll in range(1, 101):
        now = NOW + poll * POLL
        closings += [closing(poll * 5 + n / 1000, f"wf-{poll}-{n}") for n in range(PER_POLL)]
        book.listings(now)
        book.take(COMPLETED, Listed(closings[:-1001:-1], complete=True), now)
        book.polled(now)
        due = book.due(now)
        assert set(closings[-PER_POLL:]) <= set(due)
        assert len(set(due) & set(closings[-1000:-PER_POLL])) <= 2 * PER_POLL
        book.looked_up(due, (), now)

        assert len(book._marks[COMPLETED]._seen) <= 2 * 2000
        assert book.late <= 3000
        assert not book.is_behind


def test_more_hits_than_can_be_remembered_are_behind(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.core.feed.book.MAX_WAITING", 150)
    for poll in range(1, 9):
        now = NOW + poll * POLL
        closings = [closing(poll * 5 - n / 1000, f"wf-{poll}-{n}") for n in range(PER_POLL)]
        book.listings(now)
        book.take(COMPLETED, Listed(closings, complete=True), now)
        book.polled(now)
        assert book.is_behind == (poll >= 2)

    assert book.pending == 2 * PER_POLL
    assert book.marks() == {COMPLETED: NOW + POLL - timedelta(milliseconds=99)}


def test_what_is_overdue_does_not_pile_up(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 100)
    visibility = Visibility()
    for second in range(1000):
        visibility.show(closing(second / 100, "cron"))
        visibility.poll(book, second / 100)
        now = NOW + timedelta(seconds=second / 100)
        book.looked_up(book.due(now), (), now)

    assert len(book._waiting._later) <= 200
    assert book.late == 1
    assert visibility.poll(book, 20) == ["cron"]
