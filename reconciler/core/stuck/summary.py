"""Stuck rows summed up: which are asked for, how many there are of each reason, in which groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from reconciler.core.stuck.condition import Group, Reason, StuckRow
from reconciler.core.text import iso

#: The reasons that a row can be stuck for.
STUCK = tuple(reason for reason in Reason if not reason.is_healthy)
#: Groups by cause; further rows are grouped by reason and type alone.
MAX_GROUPS = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of the stuck rows, by default all."""

    #: Of these reasons; empty for any.
    reasons: frozenset[Reason] = frozenset()
    workflow_type: str | None = None
    #: Stuck for at least as long.
    older_than: timedelta = timedelta()

    def takes(self, row: StuckRow, now: datetime) -> bool:
        """Whether the row is one of them."""
        return (
            (not self.reasons or row.reason in self.reasons)
            and self.workflow_type in (None, row.workflow_type)
            and row.since <= now - self.older_than
        )


ALL = Selection()


class Summary:
    """The counts and groups of rows that come one by one, in bounded memory."""

    def __init__(self) -> None:
        #: By reason.
        self.rows: Counter[Reason] = Counter()
        self._groups: dict[tuple[Reason, str, str], Group] = {}

    def add(self, row: StuckRow) -> None:
        """Count a row."""
        self.rows[row.reason] += 1
        key = row.reason, row.workflow_type, row.cause
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = row.reason, row.workflow_type, ""
        group = self._groups.get(key) or _group_of(row, key[-1])
        is_older = row.since < group.oldest_since
        self._groups[key] = replace(
            _group_of(row, group.text) if is_older else group, rows=group.rows + 1
        )

    @property
    def groups(self) -> Sequence[Group]:
        """The groups, largest first, then the oldest."""
        return sorted(self._groups.values(), key=lambda each: (-each.rows, each.oldest_since))


def _group_of(row: StuckRow, cause: str) -> Group:
    """A group that the row has not been counted for."""
    return Group(
        reason=row.reason,
        workflow_type=row.workflow_type,
        text=cause,
        rows=0,
        oldest_since=row.since,
        oldest_id=row.workflow_id,
        oldest_text=row.text,
    )


def summary_as_json(
    checked_at: datetime | None, rows: Mapping[Reason, int], groups: Sequence[Group]
) -> Mapping[str, Any]:
    """What `stuck --json` prints, but the rows; every reason is always there."""
    return {
        "checked_at": iso(checked_at),
        "rows": {reason.value: rows.get(reason, 0) for reason in STUCK},
        "groups": [
            {
                "reason": group.reason.value,
                "workflow_type": group.workflow_type,
                "text": group.text,
                "rows": group.rows,
                "oldest_since": iso(group.oldest_since),
            }
            for group in groups
        ],
    }


def row_as_json(row: StuckRow) -> Mapping[str, Any]:
    """A row, as `stuck --json` prints it."""
    return {
        "workflow_id": row.workflow_id,
        "run_id": row.run_id,
        "workflow_type": row.workflow_type,
        "reason": row.reason.value,
        "text": row.text,
        "since": iso(row.since),
    }
