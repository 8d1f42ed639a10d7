"""The sweep: rounds in which each running row is described once, whatever visibility says.

Visibility may lag, or stay wrong. So a round goes through all rows in the order of their keys, a
stretch in each pass. Its end is fixed when it begins: rows inserted after that key are for the next
round, and cannot keep this one from ending.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.model import RowId

#: Slack for passes that are late, or fail: what a round takes less than the interval, as a
#: fraction of it.
LEEWAY = 0.2


@dataclass(frozen=True, slots=True)
class Rest:
    """The rows with `after` < id <= `until`: those that a round has not described yet."""

    after: RowId | None
    until: RowId


@dataclass(frozen=True, slots=True)
class Swept:
    """The state of the sweep after the last pass that completed."""

    #: The `now` of that pass.
    began: datetime
    #: When its round began, by the schedule; of a round that has ended: when the next one does.
    round_began: datetime
    #: None: the next pass begins a round.
    rest: Rest | None = None
    #: Rows described in the round so far.
    described: int = 0
    #: Rows of the round, as far as known.
    rows: int = 0
    #: The fraction of a row that was due, besides whole ones.
    owed: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """The round to which a pass belonged, for those who watch."""

    #: Its rows, as far as known.
    rows: int
    #: Rows described in it so far.
    described: int
    #: How long a round takes at most, as the limits allow.
    seconds: float
    began: bool
    ended: bool
    #: Whether the pass has looked at its stretch only, and at no other row.
    stretch_only: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What of a round is due in one pass."""

    #: When the round began, by the schedule.
    round_began: datetime
    #: The time since the last pass that completed; zero if unknown.
    distance: timedelta
    #: How long the round is to take; zero or less if passes are too rare for any schedule.
    length: timedelta
    #: Of the rows that are left of the round, the share that is due: 0 to 1.
    share: float
    #: The fraction of a row that is due from before.
    owed: float = 0.0

    @property
    def is_certain(self) -> bool:
        """Whether all other rows may wait; not if passes are rare, or the last is not known."""
        return timedelta() < self.distance < self.length

    def quota(self, rows: int, rps: float) -> tuple[int, float]:
        """The number of rows that are due, of `rows` that are left; at most `rps` per second.

        Whole rows, and the fraction of one more.
        """
        due = self.share * rows + self.owed
        quota = min(int(due), rows, self._at_most(rps))
        return quota, min(due - quota, 1.0) % 1

    def countable(self, rps: float) -> int:
        """The number of rows that need counting: with as many, only the rate decides."""
        if not self.share:
            return 1
        return min(int(self._at_most(rps) / self.share) + 2, sys.maxsize)

    def next_round(self, now: datetime) -> datetime:
        """When the next round begins, if this one ends with a pass at `now`.

        Not later than planned: that pass may have come late in the schedule.
        """
        planned = self.round_began + max(self.length, timedelta())
        return min(now, max(planned, now - self.distance))

    def _at_most(self, rps: float) -> int:
        if math.isinf(rps):
            return sys.maxsize
        # One row at least, or frequent passes at a low rate would never get on.
        return max(int(rps * self.distance.total_seconds()), 1)


def next_turn(last: Swept | None, now: datetime, interval: timedelta) -> Turn:
    """What is due in a pass that begins now.

    In a table that hardly changes, no row waits longer than `interval` from one description to the
    next, if passes begin at about equal distances. A round takes two distances less than that: its
    last rows may have to wait for one pass more, and until late in that pass. It takes at least a
    fifth less, so that a pass may fail or begin late.
    """
    if last is None:
        return Turn(now, timedelta(), interval, 0.0)
    distance = max(now - last.began, timedelta())
    began = min(last.round_began, now)  # later if a clock was set back
    length = interval - max(2 * distance, LEEWAY * interval)
    share = _share(last, now, began, length) if distance else 0.0
    return Turn(began, distance, length, share, last.owed)


def _share(last: Swept, now: datetime, began: datetime, length: timedelta) -> float:
    if length <= timedelta() or now - began >= length:
        return 1.0
    past = (last.began - began) / length if last.rest else 0.0
    return min(max(((now - began) / length - past) / (1 - past), 0.0), 1.0)
