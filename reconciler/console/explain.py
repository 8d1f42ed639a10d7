"""What `explain` prints: the row, Temporal's answer, the verdict, the pass that changed it last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from rich.console import Console

from reconciler.app.explain import Explanation
from reconciler.console.report import WHY_LEFT
from reconciler.console.screen import print_aligned, utc
from reconciler.core.model import (
    Closed,
    Finish,
    Leave,
    LeaveReason,
    Missing,
    Mode,
    Observation,
    Open,
    Unasked,
    Unknown,
)
from reconciler.core.own_use import ZONE_UNKNOWN
from reconciler.core.report.request import SCAN, SWEEP
from reconciler.core.text import iso, or_null
from reconciler.core.verdict import TOUCHED

_FOUND_BY = {Mode.FEED: "the closings feed", SWEEP: "the sweep", SCAN: "a pass over all rows"}


def print_explanations(explanations: Sequence[Explanation], console: Console) -> None:
    """Print a block per row."""
    for explanation in explanations:
        print_aligned(list(_explain(explanation)), ("bold", ""), console)
        console.print()


def as_object(
    workflow_id: str, explanations: Sequence[Explanation], current: Observation | None
) -> Mapping[str, Any]:
    """What `--json` prints; `current` is Temporal's answer about an id without a row."""
    return {
        "workflow_id": workflow_id,
        "rows": [_row_as_object(explanation) for explanation in explanations],
        "temporal": None if current is None else _observation_as_object(current),
    }


def _row_as_object(explanation: Explanation) -> Mapping[str, Any]:
    stored, change = explanation.stored, explanation.change
    return {
        "row_id": str(stored.row.id),
        "run_id": stored.row.run_id,
        "created_at": iso(stored.row.created_at),
        "status": stored.status,
        "completed_at": iso(stored.completed_at),
        "error_message": stored.error_message,
        "running": bool(stored.running),
        "included": stored.included,
        "temporal": _observation_as_object(explanation.observation),
        "verdict": _verdict_as_object(explanation),
        "changed_by": change
        and {
            "pass_id": str(change.pass_id),
            "found_by": change.found_by,
            "changed_at": iso(change.changed_at),
            "old_status": change.old.status,
            "new_status": change.new.status,
        },
    }


def _observation_as_object(observation: Observation) -> Mapping[str, Any]:
    closed = observation if isinstance(observation, Closed) else None
    return {
        "state": type(observation).__name__.lower(),
        "status": observation.status if isinstance(observation, Closed | Open) else None,
        "close_time": closed and iso(closed.close_time),
        "run_id": closed and closed.run_id,
        "failure": closed and closed.failure,
        "detail": None if closed else describe_observation(observation),
    }


def _verdict_as_object(explanation: Explanation) -> Mapping[str, Any]:
    verdict = explanation.verdict if explanation.stored.running else None
    return {
        "action": "none" if verdict is None else type(verdict).__name__.lower(),
        "status": verdict.outcome.status if isinstance(verdict, Finish) else None,
        "reason": verdict.reason.value if isinstance(verdict, Leave) else None,
        "text": _describe_verdict(explanation),
    }


def _explain(explanation: Explanation) -> Iterator[tuple[str, str]]:
    stored = explanation.stored
    row = stored.row
    created = "at an unknown time" if row.created_at is None else utc(row.created_at)
    changed = f", changed {utc(row.updated_at)}" if row.updated_at else ""
    yield "row", f"{row.id}, created {created}{changed}, run id {row.run_id or 'not stored'}"
    yield "status", or_null(stored.status)
    if stored.completed_at:
        yield "completed at", utc(stored.completed_at)
    if stored.error_message:
        yield "error", stored.error_message
    if explanation.change or not stored.running:
        yield "changed by", _describe_change(explanation)
    yield "Temporal", describe_observation(explanation.observation)
    yield "verdict", _describe_verdict(explanation)


def describe_observation(observation: Observation) -> str:
    """What Temporal says, in one line."""
    match observation:
        case Open(status):
            return f"open ({status})"
        case Closed():
            end = f"{observation.status} at {utc(observation.close_time)}"
            text = f": {observation.failure}" if observation.failure else ""
            return f"{end}, run {observation.run_id}{text}"
        case Missing(detail):
            return f"not found: {detail}"
        case Unknown(cause):
            return f"unclear: {cause}"
        case Unasked():
            return "not asked: the row has no workflow id"
        case _:
            assert_never(observation)


def _describe_change(explanation: Explanation) -> str:
    change = explanation.change
    if explanation.no_journal:
        return f"unknown: {explanation.no_journal}"
    if change is None:
        return "the workflow or the application: the journal has no pass that changed this row"
    statuses = f"{or_null(change.old.status)} → {or_null(change.new.status)}"
    # A mode goes without saying: `passes` shows it.
    found = f", found by {_FOUND_BY[change.found_by]}" if change.found_by in _FOUND_BY else ""
    since = "" if change.new.status == explanation.stored.status else ", and by others since"
    return f"pass {change.pass_id} at {utc(change.changed_at)}{found}, {statuses}{since}"


def _describe_verdict(explanation: Explanation) -> str:
    if not explanation.stored.included:
        return "none: RECONCILER_WHERE leaves this row out, so no pass looks at it"
    if not explanation.stored.running:
        left = "the row is not marked as running, so no pass looks at it"
        return f"none: {left}{_difference(explanation)}"
    closed = isinstance(explanation.observation, Closed)
    match explanation.verdict:
        case Finish(outcome):
            return f"finish as {outcome.status!r}"
        case Leave(reason=LeaveReason.TOO_YOUNG, detail=str(detail)) if ZONE_UNKNOWN in detail:
            return f"leave: it may be younger than RECONCILER_GRACE: {ZONE_UNKNOWN}"
        case Leave(reason=LeaveReason.TOO_YOUNG, detail=str() as detail) if detail == TOUCHED:
            return f"leave: {detail}"
        case Leave(reason=LeaveReason.TOO_YOUNG, detail=detail):
            why = detail if closed else "it may be about to start"
            return f"leave: younger than RECONCILER_GRACE, {why}"
        case Leave(reason=reason, detail=detail):
            # Every other answer has already said why.
            return f"leave: {detail if closed and detail else WHY_LEFT[reason]}"
        case _:
            assert_never(explanation.verdict)


def _difference(explanation: Explanation) -> str:
    """How a row that is not running differs from its workflow, as after a reset of a failed one."""
    verdict, status = explanation.verdict, or_null(explanation.stored.status)
    if isinstance(explanation.observation, Open):
        return f" ({status} in the row, open in Temporal)"
    if isinstance(verdict, Finish) and verdict.outcome.status != status:
        return f" ({status} in the row, {or_null(verdict.outcome.status)} in Temporal)"
    return ""
