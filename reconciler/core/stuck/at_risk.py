"""Which running rows may lose their outcome: Temporal forgets it after the retention time."""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.core.model import MISSING_REASONS, Leave, LeaveReason, Verdict
from reconciler.core.stuck.condition import RowAtRisk

_AT_RISK = (*MISSING_REASONS, LeaveReason.UNKNOWN)


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
