"""Which rows a pass asks Temporal to describe, whatever visibility says about them.

Visibility may lag, or stay wrong. So every row is described at least once per interval. Each pass
describes a share proportional to the time since the last one, without any state per row: every row
has a fixed place on a circle, and a pass continues round it from where the last complete one ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from reconciler.core.model import RowId

#: Slack for late passes, as a fraction of the interval; applied twice.
LEEWAY = 0.1

_PLACES = 2**32


@dataclass(frozen=True, slots=True)
class Swept:
    """The sweep of the last pass that completed."""

    #: The `now` of that pass.
    began: datetime
    #: The place on the circle where it ended, from 0 to 1.
    end: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """The part of the circle that one pass describes."""

    start: float = 0.0
    #: 1 for the whole circle.
    share: float = 1.0

    @property
    def is_full(self) -> bool:
        """Whether every row is described."""
        return self.share >= 1

    @property
    def end(self) -> float:
        """Where the next pass begins."""
        return (self.start + self.share) % 1

    def is_due(self, row_id: RowId) -> bool:
        """Whether this row is described in this pass."""
        place = crc32(str(row_id).encode()) / _PLACES
        return (place - self.start) % 1 < self.share


def next_sweep(last: Swept | None, now: datetime, interval: timedelta) -> Sweep:
    """The part of the circle for a pass that begins now.

    If passes begin at about equal distances, no row waits longer than `interval` from one
    description to the next. A round takes two distances less than that: its last rows may have to
    wait for one pass more, and until late in that pass. It takes at least a fifth less, so that a
    pass may fail or begin late. If no earlier pass is known, or passes are rare, all rows are due.
    """
    if last is None:
        return Sweep()
    distance = now - last.began
    round_trip = interval - 2 * max(distance, interval * LEEWAY)
    if distance <= timedelta() or round_trip <= distance:
        return Sweep()
    return Sweep(last.end, distance / round_trip)
