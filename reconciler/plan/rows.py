"""A row of a plan: a verdict as a line, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, assert_never
from uuid import UUID

from pydantic import PlainSerializer, StrictInt, StrictStr, TypeAdapter

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
from reconciler.plan.format import Json, Time

#: Characters that are kept of a text that has no limit and is not written to the table.
SHOWN = 2000


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


_Cut = Annotated[str, PlainSerializer(_cut)]


@dataclass(slots=True)
class _Old:
    status: _Cut | None
    completed_at: Time | None
    error_message: _Cut | None


@dataclass(slots=True)
class _New:
    status: str
    completed_at: Time | None
    error_message: str | None


@dataclass(slots=True)
class _Evidence:
    temporal_status: str
    final_run_id: str | None
    close_time: Time | None
    workflow_type: str


@dataclass(slots=True, kw_only=True)
class _Line:
    """The keys of a line, in their order."""

    id: StrictInt | StrictStr
    workflow_id: str
    run_id: str | None
    created_at: Time | None
    namespace: str | None = None
    updated_at: Time | None = None
    verdict: Literal["finish", "leave"]
    reason: LeaveReason | None
    detail: _Cut | None
    old: _Old | None
    new: _New | None
    evidence: _Evidence | None


_LINE = TypeAdapter(_Line)


def row_to_json(verdict: Verdict, old: OldValues | None) -> dict[str, Any]:
    """A row, its verdict and why; `old` is None if the row has been deleted meanwhile."""
    row = verdict.row
    detail: str | None = None
    new: _New | None = None
    evidence: _Evidence | None = None
    match verdict:
        case Finish(outcome, reason):
            ended = outcome.completed_at
            new = _New(outcome.status, ended, outcome.error_message)
            evidence = _Evidence(
                outcome.temporal_status, outcome.final_run_id, ended, outcome.workflow_type
            )
        case Leave(_, reason, detail):
            row = replace(
                row, workflow_id=_cut(row.workflow_id), run_id=row.run_id and _cut(row.run_id)
            )
        case _:
            assert_never(verdict)
    line = _Line(
        id=str(row.id) if isinstance(row.id, UUID) else row.id,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        created_at=row.created_at,
        namespace=row.namespace,
        updated_at=row.updated_at,
        verdict="finish" if new else "leave",
        reason=reason,
        detail=detail,
        old=None if old is None else _Old(old.status, old.completed_at, old.error_message),
        new=new,
        evidence=evidence,
    )
    # No warnings: in a .csv, keys may be of any type.
    written: dict[str, Any] = _LINE.dump_python(line, warnings=False)
    for name in ("namespace", "updated_at"):  # few tables have them
        if written[name] is None:
            del written[name]
    return written


def row_from_json(json: Json, read_id: Callable[[int | str], RowId]) -> Verdict:
    """The verdict of a line; `read_id` makes a key of the table of a number or a text.

    Raises `ValueError`.
    """
    line = _LINE.validate_python(json)
    seen = line.run_id, line.created_at, line.namespace, line.updated_at
    row = RunRow(read_id(line.id), line.workflow_id, *seen)
    match line:
        case _Line(verdict="finish", new=_New() as new, evidence=_Evidence() as evidence) if (
            line.reason in (None, *MISSING_REASONS)
        ):
            outcome = Outcome(
                row=row,
                status=new.status,
                completed_at=new.completed_at,
                error_message=new.error_message,
                temporal_status=evidence.temporal_status,
                final_run_id=evidence.final_run_id,
                workflow_type=evidence.workflow_type,
            )
            return Finish(outcome, line.reason)
        case _Line(verdict="leave", reason=LeaveReason() as reason, new=None, evidence=None):
            return Leave(row, reason, line.detail)
    raise ValueError("the line contradicts itself")
