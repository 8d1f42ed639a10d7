"""What is known about rows and passes, in words: for the console and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from reconciler.app.explain import Explanation
from reconciler.core.model import (
    MISSING_REASONS,
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
from reconciler.core.report.why_left import WHY_LEFT
from reconciler.core.stuck.condition import Condition
from reconciler.core.text import one_line, or_null, utc
from reconciler.core.verdict import TOUCHED

#: Characters at which long texts of a list are cut.
TEXT = 200
_FOUND_BY = {Mode.FEED: "the closings feed", SWEEP: "the sweep", SCAN: "a pass over all rows"}


def explain_row(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """What is known about the row, as labels and one-line texts."""
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
    if explanation.condition is not None:
        yield "why open", describe_condition(explanation.condition)
    elif isinstance(explanation.observation, Open):
        yield "why open", "not known: not all of its queues and children could be asked about"
    yield "verdict", describe_verdict(explanation)


def describe_condition(condition: Condition) -> str:
    """Why a workflow is open, in one line."""
    since = "" if condition.since is None else f" since {utc(condition.since)}"
    return f"{condition.reason.value}{since}: {condition.text}"


def describe_observation(observation: Observation, condition: Condition | None = None) -> str:
    """What Temporal says, in one line; `condition`: why it is open, unless that is said apart."""
    match observation:
        case Open(status):
            why = "" if condition is None else f", {describe_condition(condition)}"
            return f"open ({status}){why}"
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


def describe_verdict(explanation: Explanation) -> str:
    """What a pass would do with the row, in one line."""
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
            if closed and detail:
                return f"leave: {detail}"
            # Every other answer has already said why. Reports, metrics and the page have the name.
            name = f"{reason.value.replace('_', ' ')}: " if reason in MISSING_REASONS else ""
            return f"leave: {name}{WHY_LEFT[reason]}"
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


def describe_request(asked: Mapping[str, Any]) -> str:
    """What a pass was asked to do, in one line; empty if it was nothing special."""
    labels = {"workflow_type": "type", "undo": "undo of"}
    names = ("since", "until", "workflow_type", "plan", "undo")
    parts = [f"{labels.get(name, name)} {asked[name]}" for name in names if asked.get(name)]
    if asked.get("missing") == "fail":
        parts.append("missing fail")
    return one_line(", ".join(parts), TEXT)


def describe_counts(written: Mapping[str, int]) -> str:
    """The rows written by a pass, by status, in one line."""
    return ", ".join(f"{status} {count}" for status, count in sorted(written.items()) if count)
