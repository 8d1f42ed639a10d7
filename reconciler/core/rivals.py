"""Whose run it is that ended, where a row has no run id and shares its workflow id. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model import ChainStart, Closed, Missing, Rival, RunRow, Unknown


def claimed(
    row: RunRow,
    closed: Closed,
    start: ChainStart,
    rivals: Sequence[Rival] | Unknown,
    namespace: str,
) -> Missing | Unknown | None:
    """What is known of the row's workflow if the run is another row's, or may be.

    A row with the run's id has the better claim, whatever its status, and then there is nothing in
    Temporal that could be the row's own: it would have been in doubt before. `namespace` is that
    of rows that name none.
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
    # What had ended before the run started is of an earlier one.
    before = start.at - start.skew
    if any(other.ended_at is None or other.ended_at >= before for other in others):
        return Unknown("the row has no run id, and its workflow may be that of another row")
    return None


def _is_same_id(row: RunRow, other: RunRow, namespace: str) -> bool:
    """Whether both rows name the same workflow id of the same namespace."""
    spaces = {each.namespace or namespace for each in (row, other)}
    return row.workflow_id == other.workflow_id and len(spaces) == 1
