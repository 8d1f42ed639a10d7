"""The feed's memory, as tests read it: books at NOW, and what happens to them, in seconds."""

from __future__ import annotations

from datetime import timedelta

from reconciler.core.feed.book import Book
from reconciler.core.feed.ended import LookEnd
from reconciler.core.model import CloseStatus
from tests.support.closings import Visibility
from tests.support.factories import NOW

GRACE = timedelta(seconds=60)
COMPLETED, FAILED = CloseStatus.COMPLETED, CloseStatus.FAILED


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def resumed(mark: float = 0, **more: float) -> Book:
    """A book of which every status has a mark."""
    marks = dict.fromkeys(CloseStatus, NOW + at(mark))
    marks |= {CloseStatus(status): NOW + at(seconds) for status, seconds in more.items()}
    return Book(marks, NOW, GRACE)


def regular(visibility: Visibility) -> Book:
    """A book that has read as far as it should, at NOW, and has nothing to look up."""
    book = resumed()
    visibility.poll(book, 0)
    look_up(book, 0)
    return book


def look_up(book: Book, seconds: float, *hits: str) -> list[str]:
    """Look up what is due, of which `hits` have a running row; what was due."""
    now = NOW + at(seconds)
    due = book.due(now)
    book.looked_up(due, [each for each in due if each.workflow_id in hits], now)
    return [each.workflow_id for each in due]


def settle(book: Book, seconds: float, end: LookEnd, workflow_id: str = "wf") -> None:
    now = NOW + at(seconds)
    [due] = [each for each in book.due(now) if each.workflow_id == workflow_id]
    book.looked_up([due], [due], now)
    book.settled(due, end, now)
