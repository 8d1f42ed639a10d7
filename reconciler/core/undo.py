"""Putting back what a pass changed: what becomes of each of its changes, and the report of that.

Purely data and decisions: `passes.undo` acts on them. A row is put back only if it still is as the
pass left it; the comparison is the database's, what follows from it is decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.core.errors import Unusable
from reconciler.core.model import CloseStatus
from reconciler.core.report import Report
from reconciler.core.verdict import StatusValues


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the journal: a row that the pass changed."""

    id: int
    #: The row's primary key, as text.
    row_id: str
    workflow_id: str
    run_id: str | None
    #: The status it is to get back.
    old_status: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a row stands now, compared with what the journal says of it."""

    exists: bool
    #: It is about the same run of the same workflow.
    same_run: bool
    #: It has the values from before the change, and those from after it.
    has_old: bool
    has_new: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What putting rows back did, by changes. A row in none of these was not as it was left."""

    #: The status value that the row got back.
    statuses: Mapping[int, str]
    #: Those that the database itself refused (a trigger, a constraint), with its words.
    refused: Mapping[int, str] = field(default_factory=dict)
    #: Those that were not tried, because of the failure.
    untried: frozenset[int] = frozenset()
    #: Why nothing more could be put back: to be raised once what was has been counted.
    failure: Unusable | None = None


class Kept(StrEnum):
    """Why a row was not put back."""

    #: It has its old values: put back already, by an undo that was killed or by somebody else.
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


def why_kept(standing: Standing) -> Kept | None:
    """What keeps the row from being put back; None if nothing does, unless it is locked."""
    if not standing.exists:
        return Kept.GONE
    if not standing.same_run:
        return Kept.REUSED
    if standing.has_new:
        return None
    return Kept.AS_BEFORE if standing.has_old else Kept.CHANGED


def before_any_repeats(changes: Sequence[Change]) -> Sequence[Change]:
    """The first changes, each of another row.

    A row that was changed twice is put back step by step: one statement sees it in one state.
    """
    seen: set[str] = set()
    for number, change in enumerate(changes):
        if change.row_id in seen:
            return changes[:number]
        seen.add(change.row_id)
    return changes


@dataclass(slots=True)
class UndoReport(Report):
    """The counts of an undo, by changes; of a dry run, what it would put back."""

    #: The pass whose changes these are.
    undone: str = ""
    #: How many changes it says it has made; 0 if it has not come to say so.
    expected: int = 0
    #: It has not recorded its end: it may be running, and write more.
    unended: bool = False
    scanned: int = 0
    #: Rows that were put back, by the status they got.
    written: Counter[str] = field(default_factory=Counter)
    left: Counter[Kept] = field(default_factory=Counter)

    @property
    def unresolved(self) -> bool:
        """Rows are neither as they were before the pass nor put back, or there may be more."""
        kept = (count for reason, count in self.left.items() if reason is not Kept.AS_BEFORE)
        return self.unended or any(kept)

    def correct(self, written: Mapping[str, int]) -> None:
        """Count all that the journal says the undo has put back."""
        self.written = Counter(written)

    def note_pruned(self) -> int:
        """Count the changes that the journal no longer has; how many there are."""
        pruned = max(self.expected - self.scanned, 0)
        if pruned:
            self.left[Kept.PRUNED] += pruned
        return pruned

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it; every key is always there."""
        ends = (statuses.of(status) for status in CloseStatus)
        values = dict.fromkeys((*statuses.running, *ends), 0)
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
            "left": {reason.value: self.left[reason] for reason in Kept},
            "outcome": self.outcome.value,
        }
