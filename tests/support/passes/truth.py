"""Whether rows and the journal say what Temporal says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.model import Closed, CloseStatus, RunRow


def as_row(row: Mapping[str, Any]) -> RunRow:
    """A row of `workflow_executions`, as a pass reads it."""
    return RunRow(row["id"], row["workflow_id"], row["run_id"], row["created_at"])


def by_row(changes: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The journal by row; fails if a row was written twice."""
    all_changes = list(changes)
    journal = {int(change["row_id"]): change for change in all_changes}
    assert len(journal) == len(all_changes), "a row was written twice"
    return journal


def assert_finished(
    row: Mapping[str, Any], observed: Closed, journal: Mapping[int, Mapping[str, Any]]
) -> None:
    """The row has Temporal's outcome, and the journal has its change."""
    completed = observed.status is CloseStatus.COMPLETED
    assert row["status"] == ("completed" if completed else "failed"), row
    assert row["completed_at"] == observed.close_time, row
    assert row["error_message"] == observed.failure, row
    assert journal[row["id"]]["close_time"] == observed.close_time


def assert_untouched(row: Mapping[str, Any], journal: Mapping[int, Mapping[str, Any]]) -> None:
    """The row is still running, and not in the journal."""
    assert (row["status"], row["id"] in journal) == ("running", False), row
