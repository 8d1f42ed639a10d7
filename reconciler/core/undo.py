"""Undoing a pass: which of its changes to restore, and the report.

Data and decisions only: `passes.undo` acts on them. A row is restored only if it still is as the
pass left it. The database compares, this module decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.core.errors import Unusable
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import Report
from reconciler.core.text import or_null


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the journal: a row that the pass changed."""

    id: int
    #: The row's primary key, as text.
    row_id: str
    workflow_id: str
    run_id: str | None
    #: The status to restore; None: null.
    old_status: str | None


@dataclass(frozen=True, slots=True)
class RowState:
    """A row as it is now, compared with its entry in the journal."""

    exists: bool
    #: It is about the same run of the same workflow.
    same_run: bool
    #: It has the values from before the change, and those from after it.
    has_old: bool
    has_new: bool


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did, by ids of changes. A row in none of these was not as the pass left it."""

    #: The status that was restored.
    statuses: Mapping[int, str]
    #: Rows that the database itself refused (a trigger, a constraint), with its error text.
    refused: Mapping[int, str] = field(default_factory=dict)
    #: Rows that were not tried, because of the failure.
    untried: frozenset[int] = frozenset()
    #: Why nothing more could be restored: raised once the rest of this has been counted.
    failure: Unusable | None = None


class SkipReason(StrEnum):
    """Why a row was not restored."""

    #: It has its old values already: restored by an undo that was killed, or by somebody else.
    AS_BEFORE = "as_before"
    #: It has other values: somebody has written it since.
    CHANGED = "changed"
    #: It is about another run now, or about another workflow.
    REUSED = "reused"
    #: It has been deleted.
    GONE = "gone"
    #: Another transaction is writing it.
    LOCKED = "locked"
    #: The database refuses it: a trigger, a constraint.
    REFUSED = "refused"
    #: The journal no longer has the change.
    PRUNED = "pruned"


def why_skipped(state: RowState) -> SkipReason | None:
    """Why the row is not restored; None if it is, unless it is locked."""
    if not state.exists:
        return SkipReason.GONE
    if not state.same_run:
        return SkipReason.REUSED
    if state.has_new:
        return None
    return SkipReason.AS_BEFORE if state.has_old else SkipReason.CHANGED


def until_first_repeat(changes: Sequence[Change]) -> Sequence[Change]:
    """The changes before the second one of any row.

    A row that was changed twice is restored one step per statement: a statement sees one state.
    """
    seen: set[str] = set()
    for number, change in enumerate(changes):
        if change.row_id in seen:
            return changes[:number]
        seen.add(change.row_id)
    return changes


@dataclass(slots=True)
class UndoReport(Report):
    """The counts of an undo, by changes; of a dry run, what it would restore."""

    #: The id of the pass that is undone.
    undone: str = ""
    #: The number of changes that pass has recorded; 0 if it has not recorded any.
    expected: int = 0
    #: That pass has not recorded its end: it may be running, and write more.
    unended: bool = False
    scanned: int = 0
    #: Rows that were restored, by the status they got.
    written: Counter[str] = field(default_factory=Counter)
    left: Counter[SkipReason] = field(default_factory=Counter)

    @property
    def unresolved(self) -> bool:
        """Some rows still have what the pass or somebody else wrote, or there may be more."""
        others = (
            count for reason, count in self.left.items() if reason is not SkipReason.AS_BEFORE
        )
        return self.unended or any(others)

    def correct(self, written: Mapping[str, int]) -> None:
        """Count all that the journal says the undo has restored."""
        self.written = Counter(written)

    def count_pruned(self) -> int:
        """Count the changes that the journal no longer has, and return their number."""
        pruned = max(self.expected - self.scanned, 0)
        if pruned:
            self.left[SkipReason.PRUNED] += pruned
        return pruned

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it; every key is always there."""
        values = dict.fromkeys((*map(or_null, statuses.running), *statuses.ends), 0)
        return {
            "pass_id": self.pass_id,
            "mode": self.request.mode,
            "dry_run": self.request.dry_run,
            "undone": self.undone,
            "unended": self.unended,
            "started_at": self.started_at.isoformat(),
            "duration_seconds": round(self.duration_seconds, 3),
            "scanned": self.scanned,
            "written": values | dict(self.written),
            "left": {reason.value: self.left[reason] for reason in SkipReason},
            "outcome": self.outcome.value,
        }
