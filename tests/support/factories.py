"""Default values for tests, which override what they are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.core.model import (
    ChainStart,
    Closed,
    CloseStatus,
    Finish,
    LeaveReason,
    Outcome,
    RowId,
    RunRow,
)
from reconciler.core.own_use import Chain
from reconciler.core.policy import Policy

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CLOSE_TIME = datetime(2026, 11, 23, 11, 59, 58, 123456, tzinfo=UTC)
RETENTION = timedelta(days=1)


def row(id_: RowId = 1, *, age: timedelta | None = timedelta(hours=1), **fields: Any) -> RunRow:
    given: dict[str, Any] = {"workflow_id": f"wf-{id_}", "run_id": f"run-{id_}"}
    created_at = None if age is None else NOW - age
    return RunRow(id=id_, **{**given, "created_at": created_at, **fields})


def closed(status: CloseStatus = CloseStatus.COMPLETED, failure: str | None = None) -> Closed:
    if failure is None and status is not CloseStatus.COMPLETED:
        failure = "boom"
    return Closed(status, CLOSE_TIME, "run-last", failure, start=start())


def start(at: datetime | None = NOW - timedelta(hours=1)) -> ChainStart:
    return ChainStart("run-first", at)


def chain(started_at: datetime = NOW - timedelta(hours=1), **fields: Any) -> Chain:
    given: dict[str, Any] = {"last_run_id": "run-last", "closed_at": CLOSE_TIME}
    return Chain("run-first", started_at=started_at, **{**given, **fields})


def outcome(of: RunRow, **fields: Any) -> Outcome:
    given: dict[str, Any] = {
        "status": "completed",
        "completed_at": CLOSE_TIME,
        "error_message": None,
        "temporal_status": "COMPLETED",
        "final_run_id": "run-last",
    }
    return Outcome(row=of, **{**given, **fields})


def finish(of: RunRow, *, missing: LeaveReason | None = None, **fields: Any) -> Finish:
    return Finish(outcome(of, **fields), missing)


def policy(**fields: Any) -> Policy:
    return Policy(**{"retention": RETENTION, **fields})
