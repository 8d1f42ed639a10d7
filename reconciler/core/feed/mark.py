"""How far the closings of one status have been taken, and which of them were seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.feed.overlap import MAX_PAGES, Depth

_SMALLEST_PAGE, _LARGEST_PAGE = 20, 1000
#: No list reaches further.
_MOST_LISTED = MAX_PAGES * _LARGEST_PAGE
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Stage(Enum):
    """What the next list is for."""

    #: The newest closing becomes the mark; what is below it is the whole pass's.
    COLD = auto()
    #: Visibility may show late what closed just before the mark.
    MARKED = auto()
    #: The mark was saved by another process, which may have had closings below it in mind. No
    #: whole pass follows, so the list has to reach as far as it should.
    RESUMED = auto()
    REGULAR = auto()


@dataclass(frozen=True, slots=True)
class News:
    """Closings not seen before, newest first."""

    closings: Sequence[Closing] = ()
    #: Those above the mark, if the last list was not long ago.
    fresh: Sequence[Closing] = ()
    #: The most by which one was shown after a later one.
    lateness: timedelta = timedelta(0)


class Mark:
    """The newest close time that was taken, in Temporal's time.

    None if the status had no closings when it was last listed, or has not been listed.
    """

    def __init__(self, top: datetime | None, stage: Stage, first_overlap: timedelta) -> None:
        self.top = top
        self._stage = stage
        self._first_overlap = first_overlap
        self._asked = Listing(None, 1, 1)
        self._deepest = first_overlap
        self._size = _SMALLEST_PAGE
        self._seen: dict[str, datetime] = {}
        self._forget_beyond = _LARGEST_PAGE
        #: Closings since then have been listed; if one is new, it was shown late.
        self._covered = _NEVER

    def listing(self, depth: Depth) -> Listing:
        """What to list now."""
        self._deepest = depth.deepest
        if self._stage is Stage.COLD:
            self._asked = Listing(None, 1, 1)
        elif self.top is None:
            self._asked = Listing(None, self._size, MAX_PAGES)
        elif self._stage is Stage.REGULAR:
            floor = self.top - depth.overlap
            size = self._size if depth.pages == MAX_PAGES else self._size_since(floor)
            self._asked = Listing(floor, size, depth.pages)
        else:
            self._asked = Listing(self.top - self._first_overlap, self._size, MAX_PAGES)
        return self._asked

    def is_behind(self, listed: Listed) -> bool:
        """Whether all pages together have not reached what was taken before."""
        return self._asked.pages == MAX_PAGES and not self._has_reached(listed)

    def take(self, listed: Listed, latest: datetime, *, is_regular: bool) -> News:
        """Take the closings, and move the mark up to them, but not beyond `latest`."""
        news = self._news(listed, is_regular=is_regular and self._stage is Stage.REGULAR)
        self._seen.update((closing.run_id, closing.closed_at) for closing in news.closings)
        if self._has_reached(listed):
            if news.closings:
                newest = min(news.closings[0].closed_at, latest)
                self.top = newest if self.top is None else max(self.top, newest)
            self._covered = min(self._covered, self._end_of(listed))
            if self._stage is Stage.REGULAR and self._asked.pages == MAX_PAGES:
                self._size = _page_for(len(listed.closings))
            self._stage = Stage.MARKED if self._stage is Stage.COLD else Stage.REGULAR
        self._forget()
        return news

    def _news(self, listed: Listed, *, is_regular: bool) -> News:
        top, seen = self.top, self._seen
        new = [closing for closing in listed.closings if closing.run_id not in seen]
        fresh = [closing for closing in new if top is None or closing.closed_at > top]
        late = [
            top - closing.closed_at
            for closing in new[len(fresh) :]
            if top is not None and closing.closed_at >= self._covered
        ]
        return News(new, fresh if is_regular else (), max(late, default=timedelta(0)))

    def _has_reached(self, listed: Listed) -> bool:
        """Whether the list ends below what was taken before, so that nothing is skipped."""
        if listed.complete or self._stage is Stage.COLD:
            return True
        if self.top is None or self._stage is Stage.RESUMED or not listed.closings:
            return False
        return listed.closings[-1].closed_at <= self.top

    def _end_of(self, listed: Listed) -> datetime:
        """The time since when every closing is on the list."""
        if listed.complete:
            return self._asked.floor or _ALWAYS
        return listed.closings[-1].closed_at

    def _size_since(self, floor: datetime) -> int:
        return max(self._size, _page_for(sum(at >= floor for at in self._seen.values())))

    def _forget(self) -> None:
        """Forget closings that no coming list reaches; from time to time, as it costs a scan."""
        if self.top is None or len(self._seen) <= self._forget_beyond:
            return
        horizon = self.top - self._deepest
        if len(self._seen) > _MOST_LISTED:
            horizon = max(horizon, sorted(self._seen.values())[-_MOST_LISTED])
        self._seen = {run: at for run, at in self._seen.items() if at >= horizon}
        self._covered = max(self._covered, horizon)
        self._forget_beyond = max(2 * len(self._seen), _LARGEST_PAGE)


def _page_for(closings: int) -> int:
    """The size of the first page: usually the only one, if as many come as before."""
    return min(max(closings * 5 // 4, _SMALLEST_PAGE), _LARGEST_PAGE)
