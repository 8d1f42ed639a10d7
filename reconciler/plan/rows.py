"""A row of a plan: a verdict as a line, and back."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, assert_never
from uuid import UUID

from reconciler.core.model import (
    MISSING_REASONS,
    Finish,
    Leave,
    LeaveReason,
    OldValues,
    Outcome,
    RowId,
    RunRow,
    Verdict,
)
from reconciler.core.text import iso
from reconciler.plan.format import Json, take, time

#: Characters of texts that nobody limits and that are not written: they are there to be read.
SHOWN = 2000


def row_of(verdict: Verdict) -> RunRow:
    """The row a verdict is on."""
    return verdict.outcome.row if isinstance(verdict, Finish) else verdict.row


def row_to_json(verdict: Verdict, old: OldValues | None) -> Json:
    """A row, what becomes of it and why; `old` is None if the row is no longer there."""
    written: Json
    match verdict:
        case Finish(outcome, missing):
            line = _row_to_json(outcome.row) | {
                "verdict": "finish",
                "reason": missing and missing.value,
                "detail": None,
            }
            written = {"new": _new_to_json(outcome), "evidence": _evidence_to_json(outcome)}
        case Leave(row, reason, detail):
            line = _row_to_json(row) | {
                "workflow_id": _shown(row.workflow_id),
                "run_id": _shown(row.run_id),
                "verdict": "leave",
                "reason": reason.value,
                "detail": _shown(detail),
            }
            written = {"new": None, "evidence": None}
        case _:
            assert_never(verdict)
    return {**line, "old": old and _old_to_json(old), **written}


def _row_to_json(row: RunRow) -> dict[str, Any]:
    return {
        "id": str(row.id) if isinstance(row.id, UUID) else row.id,
        "workflow_id": row.workflow_id,
        "run_id": row.run_id,
        "created_at": iso(row.created_at),
        # Where rows are of several: what is written compares it.
        **({} if row.namespace is None else {"namespace": row.namespace}),
    }


def _old_to_json(old: OldValues) -> Json:
    return {
        "status": _shown(old.status),
        "completed_at": iso(old.completed_at),
        "error_message": _shown(old.error_message),
    }


def _new_to_json(outcome: Outcome) -> Json:
    return {
        "status": outcome.status,
        "completed_at": iso(outcome.completed_at),
        "error_message": outcome.error_message,
    }


def _evidence_to_json(outcome: Outcome) -> Json:
    return {
        "temporal_status": outcome.temporal_status,
        "final_run_id": outcome.final_run_id,
        "close_time": iso(outcome.completed_at),
        "workflow_type": outcome.workflow_type,
    }


def row_from_json(line: Json, read_id: Callable[[int | str], RowId]) -> Verdict:
    """A verdict from its line; `read_id` knows an id from a number or a text."""
    row = RunRow(
        id=read_id(take(line, "id", int, str)),
        workflow_id=take(line, "workflow_id", str),
        run_id=take(line, "run_id", str, NoneType),
        created_at=time(line, "created_at"),
        namespace=take(line, "namespace", str) if "namespace" in line else None,
    )
    detail, reason = take(line, "detail", str, NoneType), _reason(line)
    take(line, "old", dict, NoneType)
    if line["verdict"] == "finish" and reason in (None, *MISSING_REASONS):
        return Finish(_outcome(row, line), reason)
    if line["verdict"] == "leave" and reason is not None:
        take(line, "new", NoneType)
        take(line, "evidence", NoneType)
        return Leave(row, reason, detail)
    raise ValueError("verdict")


def _outcome(row: RunRow, line: Json) -> Outcome:
    new, evidence = take(line, "new", dict), take(line, "evidence", dict)
    return Outcome(
        row=row,
        status=take(new, "status", str),
        completed_at=time(new, "completed_at"),
        error_message=take(new, "error_message", str, NoneType),
        temporal_status=take(evidence, "temporal_status", str),
        final_run_id=take(evidence, "final_run_id", str, NoneType),
        workflow_type=take(evidence, "workflow_type", str),
    )


def _reason(line: Json) -> LeaveReason | None:
    reason = take(line, "reason", str, NoneType)
    return None if reason is None else LeaveReason(reason)


def _shown(text: str | None) -> str | None:
    return text if text is None or len(text) <= SHOWN else text[: SHOWN - 1] + "…"
