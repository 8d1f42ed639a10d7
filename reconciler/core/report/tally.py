"""Counts of rows by their end: written, left or lost; each row once."""

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

    Counts what a write returned, not what was asked: a row that it did not return was finished by
    someone else in between, a lost race.
    """

    #: Rows that were looked at.
    scanned: int = 0
    #: Of these, rows left because visibility shows them as open.
    screened: int = 0
    #: Rows that were written, by the status they got.
    written: Counter[str] = field(default_factory=Counter)
    left: Counter[LeaveReason] = field(default_factory=Counter)
    #: Of the unknown ones, rows that were judged, and the database refused the write.
    refused: int = 0
    lost_races: int = 0
    #: Rows that Temporal does not know, left or failed.
    missing: dict[LeaveReason, AgeSpread] = field(default_factory=_none_missing)
    #: When the oldest row with a workflow id that was left was created; None if unknown.
    oldest_left: datetime | None = None

    @property
    def asked_about(self) -> int:
        """Rows of which a workflow may exist."""
        return self.scanned - self.left[LeaveReason.NO_WORKFLOW_ID]

    @property
    def ends(self) -> int:
        """Rows that were written, left or lost."""
        return self.written.total() + self.left.total() + self.lost_races

    def add_left(self, leaves: Collection[Leave]) -> None:
        """Count rows that were left."""
        for leave in leaves:
            self.left[leave.reason] += 1
            self.screened += leave.screened
            self._add_missing(leave.reason, leave.row)
        # Such a row waits for the application, not for a pass.
        theirs = (LeaveReason.NO_WORKFLOW_ID, LeaveReason.COMPLETED)
        awaited = (leave for leave in leaves if leave.reason not in theirs)
        self.note_left(leave.row.created_at for leave in awaited)

    def add_set_aside(self, failing: Iterable[Finish]) -> None:
        """Count missing rows that the policy would fail as left, until their second look."""
        for finish in failing:
            if finish.missing is not None:
                self.left[finish.missing] += 1
                self._add_missing(finish.missing, finish.row)

    def add_written(
        self,
        asked: Collection[Finish],
        written: Collection[RowId],
        refused: Collection[RowId] = (),
    ) -> None:
        """Count a write: `asked` of it, ids it returned as `written`, ids that were `refused`."""
        for finish in asked:
            row = finish.row
            if finish.missing is not None:
                self._add_missing(finish.missing, row)
            if row.id in written:
                self.written[finish.outcome.status] += 1
            elif row.id in refused:
                self.left[LeaveReason.UNKNOWN] += 1
                self.refused += 1
                self.note_left([row.created_at])
            else:
                self.lost_races += 1

    def add(self, other: Tally) -> None:
        """Add the rows of another tally."""
        self.scanned += other.scanned
        self.screened += other.screened
        for reason, spread in other.missing.items():
            self.missing[reason] = self.missing[reason].plus(spread)
        self.add_ends(other)

    def add_ends(self, other: Tally) -> None:
        """Add the ends of another tally's rows, but not the rows: they are counted already."""
        self.written.update(other.written)
        self.left.update(other.left)
        self.refused += other.refused
        self.lost_races += other.lost_races
        self.note_left([other.oldest_left])

    def less(self, rows: int) -> Tally:
        """A copy without a number of rows that were left or lost, no matter which."""
        less = replace(self, written=self.written.copy(), missing=self.missing.copy())
        less.left = Counter()
        for reason, count in self.left.items():
            taken = min(rows, count)
            rows -= taken
            if count > taken:
                less.left[reason] = count - taken
        less.refused = min(less.refused, less.left[LeaveReason.UNKNOWN])
        less.lost_races -= min(rows, less.lost_races)
        return less

    def note_left(self, created_at: Iterable[datetime | None]) -> None:
        """Update `oldest_left` by the creation times of rows that were left."""
        known = [time for time in (self.oldest_left, *created_at) if time is not None]
        self.oldest_left = min(known, default=None)

    def _add_missing(self, reason: LeaveReason, row: RunRow) -> None:
        if reason in self.missing:
            self.missing[reason] = self.missing[reason].plus(AgeSpread.of(row))
