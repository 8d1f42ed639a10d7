"""A pass and a change as they are stored, and as `--json` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredPass:
    """A row of `reconciler.passes`."""

    id: UUID
    mode: str
    #: None in passes from before revision 0003, unless they have changed something.
    table: str | None
    namespace: str | None
    started_at: datetime
    #: None, as is the outcome, while it runs, and forever if it was killed.
    finished_at: datetime | None
    outcome: str | None
    error: str | None
    host: str
    version: str
    asked: Mapping[str, Any] | None
    report: Mapping[str, Any] | None

    def as_json(self) -> Mapping[str, Any]:
        """The pass as `--json` prints it."""
        return {
            "pass_id": str(self.id),
            "mode": self.mode,
            "table": self.table,
            "namespace": self.namespace,
            "started_at": self.started_at.isoformat(),
            "finished_at": _text(self.finished_at),
            "outcome": self.outcome,
            "error": self.error,
            "host": self.host,
            "version": self.version,
            "asked": self.asked,
            "report": self.report,
        }


@dataclass(frozen=True, slots=True)
class Values:
    """What a pass writes into a row."""

    status: str
    completed_at: datetime | None
    error_message: str | None

    def as_json(self) -> Mapping[str, Any]:
        """The values by the default names of the columns."""
        return {
            "status": self.status,
            "completed_at": _text(self.completed_at),
            "error_message": self.error_message,
        }


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A row of `reconciler.changes`."""

    id: int
    pass_id: UUID
    changed_at: datetime
    table: str
    row_id: str
    workflow_id: str
    run_id: str | None
    old: Values
    new: Values
    temporal_status: str
    final_run_id: str | None
    close_time: datetime | None

    def as_json(self) -> Mapping[str, Any]:
        """The change as `--json` prints it."""
        return {
            "id": self.id,
            "pass_id": str(self.pass_id),
            "changed_at": self.changed_at.isoformat(),
            "table": self.table,
            "row_id": self.row_id,
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "old": self.old.as_json(),
            "new": self.new.as_json(),
            "evidence": {
                "temporal_status": self.temporal_status,
                "final_run_id": self.final_run_id,
                "close_time": _text(self.close_time),
            },
        }


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
