"""What `explain` prints: the row, Temporal's answer, the verdict, the pass that changed it last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from reconciler.app.explain import Explanation
from reconciler.app.overview.words import describe_observation, describe_verdict, explain_row
from reconciler.console.screen import print_aligned
from reconciler.core.model import Closed, Finish, Leave, Observation, Open
from reconciler.core.stuck.condition import Condition
from reconciler.core.text import iso


def print_explanations(explanations: Sequence[Explanation], console: Console) -> None:
    """Print a block per row."""
    for explanation in explanations:
        print_aligned(list(explain_row(explanation)), ("bold", ""), console)
        console.print()


def as_object(
    workflow_id: str,
    explanations: Sequence[Explanation],
    current: Observation | None = None,
    condition: Condition | None = None,
) -> Mapping[str, Any]:
    """What `--json` prints; `current` and `condition` are about an id without a row."""
    return {
        "workflow_id": workflow_id,
        "rows": [_row_as_object(explanation) for explanation in explanations],
        "temporal": None if current is None else _observation_as_object(current),
        "condition": condition and _condition_as_object(condition),
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
        "condition": explanation.condition and _condition_as_object(explanation.condition),
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


def _condition_as_object(condition: Condition) -> Mapping[str, Any]:
    return {
        "reason": condition.reason.value,
        "text": condition.text,
        "since": iso(condition.since),
    }


def _verdict_as_object(explanation: Explanation) -> Mapping[str, Any]:
    verdict = explanation.verdict if explanation.stored.running else None
    return {
        "action": "none" if verdict is None else type(verdict).__name__.lower(),
        "status": verdict.outcome.status if isinstance(verdict, Finish) else None,
        "reason": verdict.reason.value if isinstance(verdict, Leave) else None,
        "text": describe_verdict(explanation),
    }
