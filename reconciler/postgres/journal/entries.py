"""A pass and a change as they are stored, and as `--json` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
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
        values = _plain(self)
        return {"pass_id": values.pop("id"), **values}


@dataclass(frozen=True, slots=True)
class Values:
    """What a pass writes into a row."""

    status: str | None
    completed_at: datetime | None
    error_message: str | None

    def as_json(self) -> Mapping[str, Any]:
        """The values by the default names of the columns."""
        return _plain(self)


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
    #: How the pass found the row: the feed, the sweep, or its mode. None before revision 0006.
    found_by: str | None
    #: None if Temporal did not say, and before revision 0007.
    workflow_type: str | None

    def as_json(self) -> Mapping[str, Any]:
        """The change as `--json` prints it."""
        values = _plain(self)
        evidence = {
            name: values.pop(name)
            for name in ("temporal_status", "final_run_id", "close_time", "workflow_type")
        }
        return {
            **values,
            "old": self.old.as_json(),
            "new": self.new.as_json(),
            "evidence": evidence,
        }


def _plain(stored: StoredPass | Values | StoredChange) -> dict[str, Any]:
    """The fields, with times and ids as text."""
    values = {each.name: getattr(stored, each.name) for each in fields(stored)}
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.isoformat()
        elif isinstance(value, UUID):
            values[name] = str(value)
    return values
