"""The memory of the feed of one namespace: what to list, what to look up, and what may be saved.

A poll calls `listings`, `take` for each of them, and `polled`, or `failed` if they could not all be
made. Then come `due`, `looked_up`, and `settled` for each closing that had a running row, if need
be several times, or not at all: what is not settled stays due.

What is found, as long as `is_behind` is false, and by when:

* A closing that visibility shows in the order of close times, or at most 5 s below the newest one
  of its status: by the next poll.
* One that is shown up to 20 s late in this sense: in little more than 30 s; up to 4 minutes late:
  in little more than 5 minutes.
* One that is shown late after an outage in which polls failed too: in little more than 30 s, if it
  is shown within 5 minutes + 0.1 × the outage after the end of the outage.
* A row that is committed up to 5 minutes after its closing was first looked up.

This assumes polls every 5 s or more often, and no more closings in these times than 10 pages can
list. Everything else is the sweep's, and so are rows that have no usable answer for 10 minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.feed.ended import LookEnd
from reconciler.core.feed.mark import Mark, Stage
from reconciler.core.feed.overlap import Overlap
from reconciler.core.feed.timing import Lateness, Skew
from reconciler.core.feed.waiting import MAX_WAITING, RESUMED_OVERLAP, Waiting
from reconciler.core.model import CloseStatus

#: How far Temporal's hosts may be ahead of each other.
_AHEAD = timedelta(seconds=2)


class Book:
    """What the feed of one namespace remembers.

    `now` is always an aware local time; it should not be set back.

    Args:
        marks: As saved by an earlier process; empty for a cold start: then the first poll takes the
            marks, and what closed before them is left to a pass over all rows that starts after it.
        now: The time.
        grace: How long a row is too young to be judged.
    """

    def __init__(
        self, marks: Mapping[CloseStatus, datetime], now: datetime, grace: timedelta
    ) -> None:
        stage = Stage.RESUMED if marks else Stage.COLD
        # The pass over all rows leaves the young ones: their closings are the feed's.
        overlap = RESUMED_OVERLAP if marks else max(RESUMED_OVERLAP, grace)
        self._marks = {status: Mark(marks.get(status), stage, overlap) for status in CloseStatus}
        # If the first polls fail, the outage may be older than this process.
        self._overlap = Overlap(now, polled_at=min(now, max(marks.values(), default=now)))
        self._lateness = Lateness()
        self._skew = Skew()
        self._waiting = Waiting(grace)
        self._is_cut_off = False

    @property
    def is_behind(self) -> bool:
        """Whether there is more than the feed can follow: begin with a new book, without marks."""
        return self._is_cut_off or self._waiting.pinned > MAX_WAITING

    @property
    def lateness(self) -> timedelta:
        """By how much closings were shown after later ones: the largest of the last 10 minutes."""
        return self._lateness.largest

    @property
    def skew(self) -> timedelta:
        """How far Temporal's clock is ahead of the local one, less the delay of the feed."""
        return self._skew.value

    @property
    def pending(self) -> int:
        """Workflow ids that need a look."""
        return self._waiting.pinned

    @property
    def late(self) -> int:
        """Workflow ids without a running row that are looked up again, as it may be committed."""
        return self._waiting.late

    @property
    def mark(self) -> datetime | None:
        """Every closing up to it that was listed is dealt with; None before the first one."""
        tops = [mark.top for mark in self._marks.values() if mark.top is not None]
        return min([max(tops), *self._waiting.pins().values()]) if tops else None

    def listings(self, now: datetime) -> Mapping[CloseStatus, Listing]:
        """What a poll lists now."""
        depth = self._overlap.depth(now, self.lateness)
        return {status: mark.listing(depth) for status, mark in self._marks.items()}

    def take(self, status: CloseStatus, listed: Listed, now: datetime) -> None:
        """Take what one of these lists shows: what has not been seen before becomes due."""
        mark = self._marks[status]
        self._is_cut_off = self._is_cut_off or mark.is_behind(listed)
        if self.is_behind:
            return
        latest = now + self.skew + _AHEAD
        news = mark.take(listed, latest, is_regular=self._overlap.is_regular)
        for closing in reversed(news.closings):  # the latest of a workflow id comes last
            self._waiting.add(closing, status, now)
        for closing in reversed(news.fresh):
            self._skew.observe(closing.closed_at, now)
        if news.lateness:
            self._lateness.observe(news.lateness, now)

    def polled(self, now: datetime) -> None:
        """The lists of a poll are complete."""
        self._overlap.polled(now)
        self._lateness.forget(now)

    def failed(self, now: datetime) -> None:
        """The lists of a poll could not all be made; those that were taken count."""
        self._overlap.failed()
        self._lateness.forget(now)

    def due(self, now: datetime) -> list[Closing]:
        """The closings whose workflow ids are to be looked up now, one for each workflow id."""
        return self._waiting.due(now)

    def looked_up(
        self, closings: Iterable[Closing], hits: Collection[Closing], now: datetime
    ) -> None:
        """Of these closings, `hits` have a running row; the others are looked up again later."""
        found = {hit.workflow_id for hit in hits}
        for closing in closings:
            if closing.workflow_id in found:
                self._waiting.found(closing)
            else:
                self._waiting.not_found(closing, now)

    def settled(self, closing: Closing, end: LookEnd, now: datetime) -> None:
        """How the look at the rows of a closing ended: see `all_in_one` for several rows."""
        self._waiting.settled(closing, end, now)

    def marks(self) -> Mapping[CloseStatus, datetime]:
        """What may be saved at any moment: who resumes from it lists what still needs a look."""
        pins = self._waiting.pins()
        return {
            status: min(mark.top, pins.get(status, mark.top))
            for status, mark in self._marks.items()
            if mark.top is not None
        }
