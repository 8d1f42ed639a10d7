"""Why a workflow is open: the first reason that applies, and what has to be asked before that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from reconciler.core.stuck.activities import activity_paused, activity_retrying, activity_silent
from reconciler.core.stuck.children import Judged, in_order, named_child, waiting_for_child
from reconciler.core.stuck.condition import Condition, Reason, StuckRow
from reconciler.core.stuck.no_worker import lacks_a_queue, no_worker, queues_in_doubt
from reconciler.core.stuck.runs import (
    delayed,
    nexus_blocked,
    overdue,
    paused,
    waiting,
    workflow_task_failing,
)
from reconciler.core.stuck.workflow import OpenWorkflow, PendingChild, Poller, Queue, QueueKey


def why_open(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> Condition | None:
    """Why it is open; None if an answer is missing on which that depends.

    `queues` are those that were described; `now` is Temporal's time, as near as it is known.
    Every answer is judged as of the time it was given.
    """
    now = workflow.described_at or now
    if found := _before_its_children(workflow, queues, now):
        return found
    if lacks_a_queue(workflow, queues, now):
        return None
    judged = _judged(workflow, queues, now)
    if found := waiting_for_child(judged, workflow):
        return found
    if workflow.has_more_children or any(each is None for _, each in judged):
        return None
    return delayed(workflow, now) or overdue(workflow, now) or waiting(workflow)


def queues_needed(workflow: OpenWorkflow, now: datetime) -> frozenset[QueueKey]:
    """The queues to describe before `why_open` can judge it and those of its children asked so far.

    Empty for most workflows: only a task that waits for a worker needs its queue.
    """
    now = workflow.described_at or now
    if _before_any_question(workflow, now):
        return frozenset()
    asked = [_alone(child.workflow) for child in workflow.children if child.workflow]
    return queues_in_doubt(workflow, now).union(*(queues_needed(each, now) for each in asked))


def children_needed(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> tuple[PendingChild, ...]:
    """The children to ask about before `why_open` can judge it, in a fixed order.

    Empty if an earlier reason applies, or a child that was asked about is stuck already. Put the
    answers into `PendingChild.workflow`, leave out children that have ended, and ask again for the
    queues that they need.
    """
    now = workflow.described_at or now
    if _before_its_children(workflow, queues, now) or lacks_a_queue(workflow, queues, now):
        return ()
    if waiting_for_child(_judged(workflow, queues, now), workflow):
        return ()
    return tuple(child for child in in_order(workflow.children) if child.workflow is None)


def apart_from_workers(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """As `why_open`, as if workers polled all of its queues."""
    polled = Queue((Poller("", None, workflow.version),))
    return why_open(workflow, dict.fromkeys(queues_needed(workflow, now), polled), now)


def may_hold(
    known: StuckRow, workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> bool:
    """Whether what is recorded may still be why it is open, whatever the missing answers are."""
    if known.run_id != workflow.run_id:
        return False
    if known.reason is Reason.NO_WORKER:
        return lacks_a_queue(workflow, queues, workflow.described_at or now)
    if known.reason is Reason.WAITING_FOR_CHILD:
        named = named_child(known.text)
        if named is None and workflow.has_more_children:
            return True
        return any(
            why is None and named in (None, child.workflow_id)
            for child, why in _judged(workflow, queues, now)
        )
    found = apart_from_workers(_alone(workflow), now)
    return found is not None and found.reason is known.reason


def _before_any_question(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """The reasons that need no answer but the description."""
    return paused(workflow, now) or workflow_task_failing(workflow, now)


def _before_its_children(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> Condition | None:
    if found := _before_any_question(workflow, now) or no_worker(workflow, queues, now):
        return found
    if lacks_a_queue(workflow, queues, now):
        return None
    return (
        activity_paused(workflow, now)
        or activity_retrying(workflow, now)
        or activity_silent(workflow, now)
        or nexus_blocked(workflow, now)
    )


def _judged(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> Sequence[Judged]:
    """Its children, and why each is open, whatever the children of those do."""
    return [
        (child, why_open(_alone(child.workflow), queues, now) if child.workflow else None)
        for child in in_order(workflow.children)
    ]


def _alone(workflow: OpenWorkflow) -> OpenWorkflow:
    return replace(workflow, children=(), has_more_children=False)
