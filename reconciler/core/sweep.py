"""Which rows a pass has Temporal describe whatever visibility says of them.

Visibility may lag or be wrong for good. So every row is described at least once per interval, as
far as passes come; as many in each pass as time has gone by, and without a note of any row: each
has its place on a circle, and passes go round it, each from where the last complete one ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from reconciler.core.model import RowId

#: Of the interval, twice: what a pass may come late.
LEEWAY = 0.1

_PLACES = 2**32


@dataclass(frozen=True, slots=True)
class Swept:
    """What is known of the last pass that came to its end."""

    #: When it began, by its own clock.
    began: datetime
    #: How far round the circle it came, from 0 to 1.
    end: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """The part of the circle that is a pass's own."""

    start: float = 0.0
    #: 1 for the whole of it.
    share: float = 1.0

    @property
    def is_full(self) -> bool:
        """Whether every row is described."""
        return self.share >= 1

    @property
    def end(self) -> float:
        """Where the next pass is to begin."""
        return (self.start + self.share) % 1

    def is_due(self, row_id: RowId) -> bool:
        """Whether it is this row's turn."""
        place = crc32(str(row_id).encode()) / _PLACES
        return (place - self.start) % 1 < self.share


def next_sweep(last: Swept | None, now: datetime, interval: timedelta) -> Sweep:
    """The part of a pass that begins now.

    No row has to wait longer than `interval` from one description to the next, as long as passes
    come at about even distances: the last of a round may come a pass too late, and be a pass's
    duration later in its own; hence two distances less than the interval. A fifth less at least, so
    that a pass that fails or comes late delays nobody beyond it. Where nothing is known of a pass
    before, or passes are rare, everything is due.
    """
    if last is None:
        return Sweep()
    distance = now - last.began
    round_trip = interval - 2 * max(distance, interval * LEEWAY)
    if distance <= timedelta() or round_trip <= distance:
        return Sweep()
    return Sweep(last.end, distance / round_trip)
