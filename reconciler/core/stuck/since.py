"""Since when a row is stuck."""

from __future__ import annotations

from datetime import datetime

from reconciler.core.model import RunRow
from reconciler.core.stuck.condition import Diagnosis, StuckRow


def as_stuck_row(
    row: RunRow, diagnosis: Diagnosis, known: StuckRow | None, now: datetime
) -> StuckRow:
    """What to record of a row whose workflow is not healthy; `known`: what is recorded of it.

    It is stuck since the time that Temporal names, otherwise since `now`, or as recorded if that is
    earlier and of the same run and reason. Never later than `now`: clocks differ.
    """
    condition = diagnosis.condition
    since = min(condition.since or now, now)
    if known and (known.run_id, known.reason) == (diagnosis.run_id, condition.reason):
        since = min(since, known.since)
    return StuckRow(
        row_id=row.id,
        workflow_id=row.workflow_id,
        run_id=diagnosis.run_id,
        workflow_type=diagnosis.workflow_type,
        reason=condition.reason,
        text=condition.text,
        cause=condition.cause,
        since=since,
        seen=now,
    )
