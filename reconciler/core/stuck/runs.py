"""Reasons that concern the run as a whole, and `Waiting`: nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from reconciler.core.stuck.condition import Condition, Reason, StuckRow
from reconciler.core.stuck.wording import TEXT_LIMIT, at, condition, labelled, name
from reconciler.core.stuck.workflow import OpenWorkflow
from reconciler.core.text import duration, one_line

#: A workflow task counts as failing from this attempt on: a worker that is replaced may fail one.
#: Temporal reports a problem itself after the fifth
#: (`system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute`).
FAILING_FROM = 3
#: How long after its expiry a run may still be open: Temporal ends it within seconds, and its
#: clock may differ from the one that is compared.
OVERDUE_AFTER = timedelta(minutes=1)
#: Where the failure is not known.
_FAILS = "its workflow task fails"


def paused(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """An operator has paused it."""
    pause = workflow.pause
    if pause is None:
        return None
    return condition(
        Reason.PAUSED,
        name(workflow.workflow_type),
        "paused",
        (labelled("by", pause.by), at("at", pause.at, now)),
        failure=pause.reason,
        since=pause.at,
        own=(workflow.workflow_id,),
    )


def workflow_task_failing(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """Its code raises, or is not deterministic, or a worker does not answer in time."""
    task = workflow.task
    attempt = task.attempt if task else 1
    if workflow.problem is None and attempt < FAILING_FROM:
        return None
    since = task.first_scheduled_at if task else None
    return condition(
        Reason.WORKFLOW_TASK_FAILING,
        name(workflow.workflow_type),
        "" if workflow.task_failure else _FAILS,
        (
            f"attempt {attempt} of the workflow task" if task else None,
            at("since", since, now),
        ),
        failure=workflow.task_failure or workflow.problem or "",
        since=since,
        own=(workflow.workflow_id,),
    )


def recorded_failure(known: StuckRow, workflow: OpenWorkflow) -> str:
    """Why its workflow tasks failed when that was recorded; empty if that is not said."""
    if known.reason is not Reason.WORKFLOW_TASK_FAILING:
        return ""
    subject, _, said = known.text.partition(f"{name(workflow.workflow_type)}: ")
    is_known = not subject and not said.startswith(_FAILS)
    return said.rpartition(" (attempt ")[0] if is_known else ""


def nexus_blocked(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """Temporal does not attempt a Nexus operation, since its endpoint has failed too often."""
    blocked = sorted(
        (each for each in workflow.operations if each.blocked is not None),
        key=lambda each: (each.service, each.operation, each.endpoint),
    )
    if not blocked:
        return None
    operation = blocked[0]
    return condition(
        Reason.NEXUS_BLOCKED,
        f"nexus operation {name(operation.service)}/{name(operation.operation)}",
        f"endpoint {name(operation.endpoint)} is blocked",
        (
            name(operation.blocked or "").rstrip(".") or None,
            f"attempt {operation.attempt}",
            at("due since", operation.scheduled_at, now),
        ),
        failure=operation.failure or "",
        since=operation.scheduled_at,
        own=(workflow.workflow_id,),
    )


def delayed(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """It has a start delay, or waits for its next attempt or its next time by the calendar."""
    due = workflow.execution_at
    if due is None or due <= now or any(_pending(workflow)):
        return None
    return condition(
        Reason.DELAYED,
        name(workflow.workflow_type),
        "delayed",
        (at("until", due, now), at("started at", workflow.started_at, now)),
        since=workflow.started_at,
    )


def overdue(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """It is open although its timeout has passed."""
    timeouts = (
        ("run", workflow.run_expires_at),
        ("execution", workflow.execution_expires_at),
    )
    passed = [(end, which) for which, end in timeouts if end and now - end > OVERDUE_AFTER]
    if not passed:
        return None
    expired_at, which = min(passed)
    return condition(
        Reason.OVERDUE,
        name(workflow.workflow_type),
        f"open past its {which} timeout",
        (at("expired at", expired_at, now), f"{duration(now - expired_at)} ago"),
        since=expired_at,
    )


def waiting(workflow: OpenWorkflow) -> Condition:
    """Nothing is wrong."""
    waits_for = ", ".join(_pending(workflow)) or "a timer, a signal or an update"
    text = one_line(f"{name(workflow.workflow_type)}: waits for {waits_for}", TEXT_LIMIT)
    return Condition(Reason.WAITING, text, since=None)


def _pending(workflow: OpenWorkflow) -> Iterator[str]:
    """What it may wait for, of what Temporal shows: not timers, signals and updates."""
    if workflow.task:
        yield "its workflow task"
    yield from _named("activity", [each.activity_type for each in workflow.activities])
    yield from _named("nexus operation", [each.operation for each in workflow.operations])
    yield from _named("child workflow", [each.workflow_type for each in workflow.children])


def _named(noun: str, names: Sequence[str]) -> Iterator[str]:
    """Such as "activity create_zone and 2 more"."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{noun} {name(min(names))}{more}"
