"""What a pass did, folded from its verdicts and from what the writes returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.core.model import CloseStatus, Finish, Leave, LeaveReason, RowId, RunRow, Verdict
from reconciler.core.verdict import StatusValues

#: The calls about rows; the one about the namespace is not worth a line.
RPC_KINDS = ("describe", "history", "list")


class PassOutcome(StrEnum):
    """How a pass ended."""

    OK = "ok"
    #: Done, but some rows could not be judged, or the breaker held them back.
    UNRESOLVED = "unresolved"
    #: Temporal or the database could not be used, or the pass was told to stop.
    ABORTED = "aborted"


@dataclass(slots=True)
class PassReport:
    """The counts of one pass; the JSON of `--json` and of the `passes` table.

    Counts what the write returned, not what was asked of it: a row that did not come back was
    finished by someone else in between, a lost race.
    """

    pass_id: str
    mode: str
    dry_run: bool
    started_at: datetime
    duration_seconds: float = 0.0
    scanned: int = 0
    written: Counter[str] = field(default_factory=Counter)
    left: Counter[LeaveReason] = field(default_factory=Counter)
    lost_races: int = 0
    rpcs: Counter[str] = field(default_factory=Counter)
    #: The breaker held back the rows that Temporal does not know.
    held_back: int = 0
    #: When the oldest of the rows left as they are was created; None if there is none that says.
    oldest_left: datetime | None = None
    #: Why the pass was aborted, in one line; None if it was not.
    error: str | None = None
    #: It was asked to stop before its end.
    stopped: bool = False

    def add_left(self, verdicts: Iterable[Verdict]) -> None:
        """Count the rows these verdicts leave as they are."""
        leaves = [verdict for verdict in verdicts if isinstance(verdict, Leave)]
        self.left.update(leave.reason for leave in leaves)
        self._note_age(leave.row for leave in leaves)

    def add_written(
        self,
        asked: Collection[Finish],
        written: Collection[RowId],
        refused: Collection[RowId] = (),
    ) -> None:
        """Count a write: what was asked for, the ids it returned, the ids the database refused."""
        for finish in asked:
            if finish.outcome.row.id in written:
                self.written[finish.outcome.status] += 1
            elif finish.outcome.row.id in refused:
                self.left[LeaveReason.UNKNOWN] += 1
                self._note_age([finish.outcome.row])
            else:
                self.lost_races += 1

    def hold_back(self, finishes: Collection[Finish]) -> None:
        """Count missing rows that the breaker keeps from being finished."""
        self.held_back += len(finishes)
        self.left.update(f.missing for f in finishes if f.missing is not None)
        self._note_age(finish.outcome.row for finish in finishes)

    def stop(self) -> None:
        """The pass was asked to stop: what it has not looked at is for the next one."""
        self.stopped = True
        self.error = "stopped before its end"

    def _note_age(self, rows: Iterable[RunRow]) -> None:
        created = [row.created_at for row in rows if row.created_at is not None]
        known = [*created, self.oldest_left] if self.oldest_left else created
        self.oldest_left = min(known, default=None)

    @property
    def unknown(self) -> int:
        """Rows that could not be judged."""
        return self.left[LeaveReason.UNKNOWN]

    @property
    def changed(self) -> int:
        """Rows that were written; in a dry run, that would have been."""
        return self.written.total()

    @property
    def outcome(self) -> PassOutcome:
        """How the pass ended, which is also what the exit code says."""
        if self.error is not None:
            return PassOutcome.ABORTED
        if self.unknown or self.held_back:
            return PassOutcome.UNRESOLVED
        return PassOutcome.OK

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it; every key is always there."""
        ends = dict.fromkeys((statuses.of(status) for status in CloseStatus), 0)
        reasons = [reason for reason in LeaveReason if reason is not LeaveReason.UNKNOWN]
        return {
            "pass_id": self.pass_id,
            "mode": self.mode,
            "dry_run": self.dry_run,
            "started_at": self.started_at.isoformat(),
            "duration_seconds": round(self.duration_seconds, 3),
            "scanned": self.scanned,
            "written": ends | dict(self.written),
            "left": {reason.value: self.left[reason] for reason in reasons},
            "unknown": self.unknown,
            "lost_races": self.lost_races,
            "rpcs": {kind: self.rpcs[kind] for kind in RPC_KINDS},
            "outcome": self.outcome.value,
        }
