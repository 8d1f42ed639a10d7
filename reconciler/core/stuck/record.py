"""What to record of rows that stay running: why they are stuck, or may lose their outcome.

Temporal forgets an outcome after the retention time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.core.model import MISSING_REASONS, Leave, LeaveReason, RunRow, Verdict
from reconciler.core.stuck.condition import Diagnosis, RowAtRisk, StuckRow

_AT_RISK = (*MISSING_REASONS, LeaveReason.UNKNOWN)


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


def is_at_risk(verdict: Verdict) -> bool:
    """Whether Temporal does not know the row, or there is no usable answer about it.

    Also if the policy would fail it, until it is written: the breaker may hold it back.
    """
    return _reason(verdict) in _AT_RISK


def as_row_at_risk(
    verdict: Verdict, known: RowAtRisk | None, retention: timedelta | None, now: datetime
) -> RowAtRisk:
    """What to record of such a row; `known`: what is recorded of it.

    Its workflow may have closed when the row was created: the retention time begins there.
    """
    row, reason = verdict.row, _reason(verdict) or ""
    detail = verdict.detail if isinstance(verdict, Leave) else verdict.outcome.error_message
    is_same = known is not None and known.reason == reason
    return RowAtRisk(
        row_id=row.id,
        workflow_id=row.workflow_id,
        reason=reason,
        text=detail or "",
        since=min(known.since, now) if known and is_same else now,
        seen=now,
        lost_at=row.created_at + retention if row.created_at and retention else None,
    )


def _reason(verdict: Verdict) -> LeaveReason | None:
    return verdict.reason if isinstance(verdict, Leave) else verdict.missing
