"""What became of rows, counted; each row once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.core.model import MISSING_REASONS, Finish, Leave, LeaveReason, RowId, RunRow
from reconciler.core.window import AgeSpread


def _none_missing() -> dict[LeaveReason, AgeSpread]:
    return dict.fromkeys(MISSING_REASONS, AgeSpread())


@dataclass(slots=True)
class Tally:
    """The counts of some rows.

    Counts what the write returned, not what was asked of it: a row that did not come back was
    finished by someone else in between, a lost race.
    """

    #: Rows that were looked at; of these, rows left because visibility shows them as open.
    scanned: int = 0
    screened: int = 0
    #: Rows that were written, by the status they got.
    written: Counter[str] = field(default_factory=Counter)
    left: Counter[LeaveReason] = field(default_factory=Counter)
    lost_races: int = 0
    #: The rows Temporal does not know, left or failed.
    missing: dict[LeaveReason, AgeSpread] = field(default_factory=_none_missing)
    #: When the oldest of the rows left as they are was created; None if there is none that says.
    oldest_left: datetime | None = None

    @property
    def ends(self) -> int:
        """Rows of which it is known what became of them."""
        return self.written.total() + self.left.total() + self.lost_races

    def add_left(self, leaves: Collection[Leave]) -> None:
        """Count rows that stay as they are."""
        for leave in leaves:
            self.left[leave.reason] += 1
            self.screened += leave.screened
            self._add_missing(leave.reason, leave.row)
        self.note_age(leave.row for leave in leaves)

    def add_set_aside(self, failing: Iterable[Finish]) -> None:
        """Count missing rows that the policy would fail: left, unless a second look differs."""
        for finish in failing:
            if finish.missing is not None:
                self.left[finish.missing] += 1
                self._add_missing(finish.missing, finish.outcome.row)

    def add_written(
        self,
        asked: Collection[Finish],
        written: Collection[RowId],
        refused: Collection[RowId] = (),
    ) -> None:
        """Count a write: what was asked for, the ids it returned, the ids the database refused."""
        for finish in asked:
            row = finish.outcome.row
            if finish.missing is not None:
                self._add_missing(finish.missing, row)
            if row.id in written:
                self.written[finish.outcome.status] += 1
            elif row.id in refused:
                self.left[LeaveReason.UNKNOWN] += 1
                self.note_age([row])
            else:
                self.lost_races += 1

    def add(self, other: Tally) -> None:
        """Count the rows of another tally, too."""
        self.scanned += other.scanned
        self.screened += other.screened
        for reason, spread in other.missing.items():
            self.missing[reason] = self.missing[reason].plus(spread)
        self.add_ends(other)

    def add_ends(self, other: Tally) -> None:
        """Count what became of the rows of another tally, which have been scanned before."""
        self.written.update(other.written)
        self.left.update(other.left)
        self.lost_races += other.lost_races
        self.note_times([other.oldest_left])

    def less(self, rows: int) -> Tally:
        """The same without some of the rows that were left or lost, whichever these are."""
        less = replace(self, written=self.written.copy(), missing=self.missing.copy())
        less.left = Counter()
        for reason, count in self.left.items():
            taken = min(rows, count)
            rows -= taken
            if count > taken:
                less.left[reason] = count - taken
        less.lost_races -= min(rows, less.lost_races)
        return less

    def note_age(self, rows: Iterable[RunRow]) -> None:
        """Rows that are left as they are."""
        self.note_times(row.created_at for row in rows)

    def note_times(self, times: Iterable[datetime | None]) -> None:
        """When rows that are left as they are were created, as far as known."""
        known = [time for time in (self.oldest_left, *times) if time is not None]
        self.oldest_left = min(known, default=None)

    def _add_missing(self, reason: LeaveReason, row: RunRow) -> None:
        if reason in self.missing:
            self.missing[reason] = self.missing[reason].plus(AgeSpread.of(row))
