"""The feed of one namespace: where it is followed from, and whether it can be.

```
          marks saved an hour ago or less ──────────────────────────────┐
new ──►                                                                 ▼
          else: marks at the newest closings ─► cold ─ a whole pass ─► warm
                     ▲                           │                       │
                     ├── too many closings to catch up with ◄────────────┤
                     └── an hour later ◄── off: refused, or not sorted ◄─┘
```

A cold feed is polled too: what closed before its marks is the whole pass's, what closed since is
the feed's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from reconciler.core.errors import FeedOff, ReconcilerError, Unusable
from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Listing
from reconciler.core.feed.ports import Closings, Marks
from reconciler.core.model import CloseStatus

#: Marks of a namespace that is met during a pass over every row are taken within this time, and the
#: first reading goes back further.
TAKEN_WITHIN = timedelta(minutes=1)
#: How long a namespace is left alone that refuses.
OFF_FOR = timedelta(hours=1)
#: Seconds before a namespace is listed again that did not answer; doubled each time.
RETRY, LAST_RETRY = timedelta(seconds=5), timedelta(seconds=60)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class NamespaceFeed:
    """Lists the closings of a namespace, and remembers which of them wait."""

    name: str
    #: Temporal's id of it: marks are kept by that.
    id: str
    closings: Closings
    marks: Marks
    grace: timedelta
    #: Marks that were saved longer ago are not followed.
    oldest_marks: timedelta
    #: Never goes back.
    clock: Callable[[], datetime]
    #: When the first row of it was met.
    met_at: datetime
    book: Book | None = field(default=None, init=False)
    #: Whether every row that closed before the marks has been looked at.
    is_warm: bool = field(default=False, init=False)
    #: When it became possible, or necessary, for a pass over every row to find what the feed does
    #: not: the marks were taken, or the feed is off. None if no such pass is needed, or not yet.
    gap_at: datetime | None = field(default=None, init=False)
    #: When the last complete poll of it began.
    listed_at: datetime | None = field(default=None, init=False)
    why_off: str | None = field(default=None, init=False)
    #: How often there were too many closings to catch up with.
    fell_behind: int = field(default=0, init=False)
    #: Why the last poll could not list it; None if it could.
    failure: str | None = field(default=None, init=False)
    _next_at: datetime | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)
    #: Whether saved marks are out of date.
    _starts_over: bool = field(default=False, init=False)

    def is_due(self, now: datetime) -> bool:
        """Whether to list it now: not shortly after a failure."""
        return self._next_at is None or now >= self._next_at

    async def poll(self, now: datetime, news: asyncio.Event) -> None:
        """List what has closed; set `news` whenever there may be rows to look up.

        Never raises for what the servers do: `why_off` and `failure` say what is wrong.
        """
        try:
            book = self.book or await self._open(now)
            await _each(
                self._read(book, status, asked, now, news)
                for status, asked in book.listings(now).items()
            )
        except FeedOff as error:
            self._turn_off(str(error), now)
        except Unusable as error:
            self._fail(str(error), now)
        else:
            self._complete(book, now)

    async def _open(self, now: datetime) -> Book:
        """Follow from the saved marks; if there are none, the first lists take new ones."""
        saved = None if self._starts_over else await self.marks.load(self.id)
        if saved is not None and saved.age > self.oldest_marks:
            saved = None
        self.is_warm, self.gap_at = saved is not None, None
        self.book, self._starts_over = Book(saved.marks if saved else {}, now, self.grace), False
        log.debug("feed_followed", namespace=self.name, from_marks=self.is_warm)
        return self.book

    async def _read(
        self, book: Book, status: CloseStatus, asked: Listing, now: datetime, news: asyncio.Event
    ) -> None:
        book.take(status, await self.closings.read(self.name, status, asked), now)
        news.set()

    def _complete(self, book: Book, now: datetime) -> None:
        book.polled(now)
        if not self.is_warm and self.gap_at is None:
            self.gap_at = self.clock()
        self.listed_at, self.failure, self.why_off = now, None, None
        self._failures, self._next_at = 0, None
        if book.is_behind:
            self.fell_behind += 1
            log.warning(
                "feed_behind",
                namespace=self.name,
                hint="more workflows have closed than a poll can list: a pass over every row finds "
                "their rows, and the feed is followed from now on",
            )
            self._start_over()

    def _start_over(self) -> None:
        self.book, self.is_warm, self.gap_at, self._starts_over = None, False, None, True

    def _turn_off(self, why: str, now: datetime) -> None:
        self._start_over()
        self.gap_at, self.why_off, self._next_at = now, why, now + OFF_FOR
        log.warning(
            "feed_off",
            namespace=self.name,
            why=why,
            hint="passes over every row find what has closed; tried again in an hour",
        )

    def _fail(self, why: str, now: datetime) -> None:
        if self.book is not None:
            self.book.failed(now)
        self.failure = why
        self._next_at = now + min(RETRY * 2 ** min(self._failures, 10), LAST_RETRY)
        self._failures += 1

    def interrupted(self, now: datetime) -> None:
        """The poll that began then has ended early: closings may have been missed meanwhile."""
        if self.book is not None and self.listed_at != now:
            self.book.failed(now)

    def warm_up(self, began: datetime) -> None:
        """A pass that began then has looked at every row."""
        if self.gap_at is None or self.why_off is not None:
            return
        met_in_it = self.met_at > began and self.gap_at - self.met_at < TAKEN_WITHIN
        if self.gap_at <= began or met_in_it:
            self.is_warm, self.gap_at = True, None

    async def save(self) -> None:
        """Save the marks, unless rows from before them may have been missed. Raises `Unusable`."""
        if self.book is not None and self.is_warm:
            await self.marks.save(self.id, self.name, self.book.marks())


async def _each(reading: Iterable[Coroutine[None, None, None]]) -> None:
    """Do all of it at the same time, then raise an error: a bug, or else an expected one.

    What one list fails with does not keep the others from being taken.
    """
    done = await asyncio.gather(*reading, return_exceptions=True)
    errors = [each for each in done if isinstance(each, BaseException)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, ReconcilerError))
