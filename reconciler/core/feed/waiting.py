"""The closings whose rows still need a look.

One entry per workflow id, about its latest closing: a look finds every running row of the id and
asks about the chain of each, and so covers all earlier closings. (Attempts, ticks of a cron
schedule, and successive uses share a workflow id.)

An entry is *pinned* until it is settled: saved marks stay at or below it, so that a process that
resumes lists its closing again. An entry without a running row is *late*, because a row may be
committed after its workflow has closed. It is kept for five minutes, which is how far a process
that resumes lists below the marks. So it hardly ever holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import chain

from reconciler.core.feed.closing import Closing
from reconciler.core.feed.damping import Damping
from reconciler.core.feed.ended import Ended, LookEnd, WaitUntil
from reconciler.core.model import CloseStatus

#: Entries that are kept. More pinned ones than that are more than the feed can follow.
MAX_WAITING = 200_000

#: How far a process that resumes lists below the marks.
RESUMED_OVERLAP = timedelta(minutes=5)
#: Looks for a row that may be late: so long after the first one.
_LATE_LOOKS = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=5))
#: How long a row without a usable answer is tried, and how often: doubled each time, to a minute.
_PATIENCE = timedelta(minutes=10)
_FIRST_TRY, _LAST_TRY = timedelta(seconds=5), timedelta(minutes=1)
#: Clocks differ: a row may still be too young when its time has come.
_SOON = timedelta(seconds=1)


@dataclass(slots=True)
class _Entry:
    closing: Closing
    status: CloseStatus
    due_at: datetime
    patience: timedelta = _PATIENCE
    #: When it was first looked at in its present state; None if that is still to come.
    since: datetime | None = None
    #: Looks since then.
    looks: int = 0


class Waiting:
    """The closings of a namespace that wait to be looked at."""

    def __init__(self, grace: timedelta) -> None:
        self._grace = grace
        self._damping = Damping()
        self._pinned: dict[str, _Entry] = {}
        #: Those that have been late for longest come first.
        self._late: dict[str, _Entry] = {}
        #: Entries whose time has come.
        self._due: dict[str, _Entry] = {}
        #: Those of the others, with some that are out of date.
        self._later: list[tuple[datetime, str]] = []

    @property
    def pinned(self) -> int:
        """The number of workflow ids that need a look."""
        return len(self._pinned)

    @property
    def late(self) -> int:
        """The number of workflow ids without a running row that are looked up again."""
        return len(self._late)

    def pins(self) -> Mapping[CloseStatus, datetime]:
        """The latest marks with which a process that resumes lists every closing here again."""
        pins: dict[CloseStatus, datetime] = {}
        for entries, overlap in ((self._pinned, timedelta(0)), (self._late, RESUMED_OVERLAP)):
            for entry in entries.values():
                pin = entry.closing.closed_at + overlap
                pins[entry.status] = min(pins.get(entry.status, pin), pin)
        return pins

    def add(self, closing: Closing, status: CloseStatus, now: datetime) -> None:
        """Have the rows of a new closing looked at, at once unless that is damped."""
        id_ = closing.workflow_id
        due_at = max(now, self._damping.until(id_, status) or now)
        earlier = self._pinned.get(id_) or self._late.pop(id_, None)
        if earlier is not None:
            due_at = min(due_at, earlier.due_at)
        self._pinned[id_] = _Entry(closing, status, due_at)
        self._schedule(self._pinned[id_], now)
        self._make_room()

    def due(self, now: datetime) -> list[Closing]:
        """The closings to look up now: again and again, until they are settled or found late."""
        while self._later and self._later[0][0] <= now:
            due_at, id_ = heappop(self._later)
            entry = self._pinned.get(id_) or self._late.get(id_)
            if entry is not None and entry.due_at == due_at:
                self._due[id_] = entry
        return [entry.closing for entry in self._due.values()]

    def found(self, closing: Closing) -> None:
        """A look-up has found running rows of this workflow id: pin it."""
        entry = self._late.get(closing.workflow_id)
        if entry is not None and entry.closing == closing:
            del self._late[closing.workflow_id]
            entry.since, entry.looks = None, 0
            self._pinned[closing.workflow_id] = entry

    def not_found(self, closing: Closing, now: datetime) -> None:
        """There is no running row of this workflow id: look again, up to five minutes."""
        id_ = closing.workflow_id
        entry = self._pinned.get(id_) or self._late.get(id_)
        if entry is None or entry.closing != closing:
            return
        if self._pinned.pop(id_, None):
            entry.since, entry.looks = now, 0
            self._late[id_] = entry
        if entry.since is None or entry.looks == len(_LATE_LOOKS):
            self._drop(id_)
            return
        entry.due_at = entry.since + _LATE_LOOKS[entry.looks]
        entry.looks += 1
        self._schedule(entry, now)

    def settled(self, closing: Closing, end: LookEnd, now: datetime) -> None:
        """Take the end of a look into account; a newer closing of the workflow id stays due."""
        id_ = closing.workflow_id
        entry = self._pinned.get(id_)
        if entry is None or entry.closing != closing:
            return
        if end is Ended.OPEN:
            self._damping.was_open(id_, entry.status, now)
        else:
            self._damping.was_not_open(id_, entry.status)
        next_look = self._next_look(entry, end, now)
        if next_look is None:
            self._drop(id_)
        else:
            entry.due_at = next_look
            self._schedule(entry, now)

    def _next_look(self, entry: _Entry, end: LookEnd, now: datetime) -> datetime | None:
        """When to look again; None if that is not needed, or left to the sweep."""
        entry.since = entry.since or now
        if isinstance(end, WaitUntil):
            entry.patience = _PATIENCE + self._grace
            # A row may stay too young for longer than its age explains.
            due_at = max(end.at, now + min(_SOON * (1 << min(entry.looks, 10)), _LAST_TRY))
            entry.looks += 1
        elif end is Ended.TRY_AGAIN:
            due_at = now + min(_FIRST_TRY * (1 << min(entry.looks, 10)), _LAST_TRY)
            entry.looks += 1
        else:
            return None
        return due_at if due_at <= entry.since + entry.patience else None

    def _schedule(self, entry: _Entry, now: datetime) -> None:
        id_ = entry.closing.workflow_id
        if entry.due_at <= now:
            self._due[id_] = entry
            return
        self._due.pop(id_, None)
        heappush(self._later, (entry.due_at, id_))
        if len(self._later) > 2 * MAX_WAITING:
            entries = chain(self._pinned.values(), self._late.values())
            self._later = sorted((each.due_at, each.closing.workflow_id) for each in entries)

    def _make_room(self) -> None:
        """Leave the rows that have been late for longest to the sweep if there are too many."""
        while self._late and len(self._pinned) + len(self._late) > MAX_WAITING:
            self._drop(next(iter(self._late)))

    def _drop(self, id_: str) -> None:
        for entries in (self._pinned, self._late, self._due):
            entries.pop(id_, None)
