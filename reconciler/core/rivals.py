"""Whose run it was that ended, if a row has no run id and shares its workflow id. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model import ChainStart, Closed, Missing, Rival, RunRow, Unknown


def check_rivals(
    row: RunRow,
    closed: Closed,
    start: ChainStart,
    rivals: Sequence[Rival] | Unknown,
    namespace: str,
) -> Missing | Unknown | None:
    """The observation of the row if the run is another row's, or may be; None if it is the row's.

    A row that stores the run's id has the better claim, in any status. Then Temporal has no
    workflow that could be this row's. `namespace` is that of rows that name none.
    """
    if isinstance(rivals, Unknown):
        return rivals
    others = [rival for rival in rivals if _is_same_id(rival.row, row, namespace)]
    if any((other.row.run_id or "").lower() in (start.run_id, closed.run_id) for other in others):
        return Missing(
            "the run of its workflow id is another row's, which has the run id",
            id_in_use=True,
            retention=closed.retention,
        )
    # A row that had ended before the run started belongs to an earlier run.
    before = start.at - start.skew
    if any(other.ended_at is None or other.ended_at >= before for other in others):
        return Unknown("the row has no run id, and its workflow may be that of another row")
    return None


def _is_same_id(row: RunRow, other: RunRow, namespace: str) -> bool:
    """Whether both rows name the same workflow id of the same namespace."""
    spaces = {each.namespace or namespace for each in (row, other)}
    return row.workflow_id == other.workflow_id and len(spaces) == 1
