"""How far below the newest closing a poll lists: closings may be shown after later ones.

Every poll lists a short way down. Some go deeper, so that what is late is found later, but found:

| poll | lists down to | pages |
|---|---|---|
| every | 2 × the largest lateness of the last 10 minutes, at least 5 s, at most 60 s | 20 |
| after 30 s | the same, at least 60 s, at most 10 minutes | 10 |
| after 5 minutes | 10 minutes | 10 |

After an outage Temporal writes the missed closings to visibility in any order, with pauses that
have grown to a tenth of the outage, or to a few minutes. Until 0.1 × the outage + 5 minutes after
its end, the polls of the second line reach back to the time before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Pages of an ordinary poll: one that does not reach its mark with them is behind.
MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class Depth:
    """How far a poll lists."""

    overlap: timedelta
    pages: int
    #: The most that any coming poll will list, as far as is known.
    deepest: timedelta


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the table above."""

    every: timedelta
    least: timedelta
    most: timedelta
    pages: int

    def overlap(self, lateness: timedelta) -> timedelta:
        return min(max(2 * lateness, self.least), self.most)


_SHORT = _Line(timedelta(0), timedelta(seconds=5), timedelta(seconds=60), MAX_PAGES)
_MEDIUM = _Line(timedelta(seconds=30), timedelta(seconds=60), timedelta(minutes=10), 10)
_DEEP = _Line(timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=10), 10)
_LAST_RETRIES = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class _Outage:
    """A time in which closings could not be listed."""

    began: datetime
    #: Until then, closings of this time may appear.
    felt_until: datetime

    def overlap(self, at: datetime) -> timedelta:
        return at - self.began + _MEDIUM.least


class Overlap:
    """Chooses how far each poll lists. All times are local."""

    def __init__(self, now: datetime, polled_at: datetime) -> None:
        self._polled_at = polled_at
        self._medium_at = self._deep_at = now
        self._line = _SHORT
        self._failing = False
        self._outage: _Outage | None = None

    @property
    def is_regular(self) -> bool:
        """Whether the last poll succeeded."""
        return not self._failing

    def depth(self, now: datetime, lateness: timedelta) -> Depth:
        """How far the poll that begins now lists."""
        self._line = self._line_at(now)
        overlap, deepest = self._line.overlap(lateness), _DEEP.most
        outage = self._outage_by(now) if self._failing else self._outage
        if outage is not None:
            deepest = max(deepest, outage.overlap(outage.felt_until + 2 * _MEDIUM.every))
            if self._line is not _SHORT:
                overlap = max(overlap, outage.overlap(now))
        return Depth(overlap, self._line.pages, deepest)

    def polled(self, now: datetime) -> None:
        """The lists of the poll are complete."""
        if self._failing:
            self._outage = self._outage_by(now)
        if self._line is not _SHORT:
            self._medium_at = now
            if self._outage is not None and now >= self._outage.felt_until:
                self._outage = None
        if self._line is _DEEP:
            self._deep_at = now
        self._failing = False
        self._polled_at = now

    def failed(self) -> None:
        """The lists of the poll could not be made."""
        self._failing = True

    def _line_at(self, now: datetime) -> _Line:
        if self._failing:  # it has to catch up, and no more
            return _SHORT
        if now - self._deep_at >= _DEEP.every:
            return _DEEP
        return _MEDIUM if now - self._medium_at >= _MEDIUM.every else _SHORT

    def _outage_by(self, now: datetime) -> _Outage:
        """The outage, if it ends now."""
        began = self._outage.began if self._outage else self._polled_at
        return _Outage(began, now + 0.1 * (now - self._polled_at) + _LAST_RETRIES)
