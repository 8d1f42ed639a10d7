"""Closings for which there are running rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Closing
from reconciler.core.feed.ended import WaitUntil
from reconciler.core.model import RunRow
from reconciler.core.policy import Policy
from reconciler.core.verdict import old_enough_at


@dataclass(frozen=True, slots=True)
class Hit:
    """A closing, and the running rows of its workflow id."""

    book: Book
    closing: Closing
    rows: Sequence[RunRow]

    def put_off(self, policy: Policy, rows_now: datetime, now: datetime) -> bool:
        """Put the look off, unasked, if all rows are too young however their workflow has closed.

        `rows_now`: the time by which rows are judged; `now`: that of the book.
        """
        times = [old_enough_at(row, policy) for row in self.rows]
        later = [time - rows_now for time in times if time is not None and time > rows_now]
        if len(later) < len(self.rows):
            return False
        self.book.settled(self.closing, WaitUntil(now + min(later)), now)
        return True


def find_hits(
    book: Book, due: Sequence[Closing], rows: Mapping[str, Sequence[RunRow]], now: datetime
) -> list[Hit]:
    """The closings of a namespace that have rows, by workflow id; the others may be late."""
    hits = [Hit(book, each, of) for each in due if (of := rows.get(each.workflow_id))]
    book.looked_up(due, [hit.closing for hit in hits], now)
    return hits
