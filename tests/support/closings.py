"""A visibility store for tests of the feed's memory: it shows closings when a test says so."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from datetime import timedelta
from itertools import count

from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.model import CloseStatus
from tests.support.factories import NOW

_runs = count()


def closing(at: float = 0, workflow_id: str = "wf", run_id: str | None = None) -> Closing:
    """A closing `at` seconds after NOW, of a new run."""
    return Closing(workflow_id, run_id or f"run-{next(_runs)}", NOW + timedelta(seconds=at))


class Visibility:
    """Lists closings newest first, in pages, as Temporal does."""

    def __init__(self) -> None:
        self._shown: Mapping[CloseStatus, list[Closing]] = {each: [] for each in CloseStatus}
        #: Rows of the lists so far.
        self.rows = 0

    def show(self, *closings: Closing, status: CloseStatus = CloseStatus.COMPLETED) -> None:
        """From now on, lists contain these closings."""
        for each in closings:
            insort(self._shown[status], each, key=lambda one: (one.closed_at, one.run_id))

    def read(self, status: CloseStatus, asked: Listing) -> Listed:
        """Answer one list."""
        found: list[Closing] = []
        shown, size = self._shown[status], asked.size
        position = len(shown)
        for _ in range(asked.pages):
            page = shown[max(position - size, 0) : position][::-1]
            self.rows += len(page)
            for each in page:
                if asked.floor is not None and each.closed_at < asked.floor:
                    return Listed(found, complete=True)
                found.append(each)
            position -= size
            if position <= 0:
                return Listed(found, complete=True)
            size = min(size * 10, 1000)
        return Listed(found, complete=False)

    def poll(self, book: Book, at: float) -> list[str]:
        """Have the book poll `at` seconds after NOW; the workflow ids that it wants looked up."""
        now = NOW + timedelta(seconds=at)
        for status, asked in book.listings(now).items():
            book.take(status, self.read(status, asked), now)
        book.polled(now)
        return [each.workflow_id for each in book.due(now)]
