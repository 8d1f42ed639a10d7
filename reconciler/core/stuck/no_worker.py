"""Tasks that no worker takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.stuck.activities import oldest_first
from reconciler.core.stuck.condition import Condition, Reason
from reconciler.core.stuck.wording import at, condition, labelled, moment, name
from reconciler.core.stuck.workflow import (
    ActivityState,
    OpenWorkflow,
    PendingActivity,
    Poller,
    Queue,
    QueueKey,
    QueueType,
)
from reconciler.core.text import duration, plural

#: How long a task may wait for a worker before anybody asks why: a deployment takes about
#: as long.
WAITED = timedelta(minutes=2)
#: A worker that polls has been seen within this time: a poll lasts for a minute at most
#: (`matching.longPollExpirationInterval`), then the worker sends the next.
POLLED_WITHIN = timedelta(seconds=70)

_KINDS = {QueueType.WORKFLOW: "workflow tasks", QueueType.ACTIVITY: "activities"}


@dataclass(frozen=True, slots=True)
class _Untaken:
    """A task that has waited for a worker for too long."""

    what: str
    queue: QueueKey
    since: datetime | None
    #: The worker deployment version that has to take it; None: any.
    version: str | None
    #: Of the attempt before.
    failure: str = ""


def queues_in_doubt(workflow: OpenWorkflow, now: datetime) -> frozenset[QueueKey]:
    """The queues of tasks that no worker has taken."""
    return frozenset(task.queue for task in _untaken(workflow, now))


def no_worker(
    workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime
) -> Condition | None:
    """A task has waited for two minutes, and no worker that could take it polls its queue.

    A worker whose slots are all in use does not poll either. A task that waits although workers
    poll is a matter of their number, not of its workflow.
    """
    for task in _untaken(workflow, now):
        queue = queues.get(task.queue)
        if queue and _has_worker(task, queue, now) is False:
            return _nobody_takes(task, queue, workflow, now)
    return None


def lacks_a_queue(workflow: OpenWorkflow, queues: Mapping[QueueKey, Queue], now: datetime) -> bool:
    """Whether it is unknown, for one of its tasks, if a worker could take that."""
    found = ((task, queues.get(task.queue)) for task in _untaken(workflow, now))
    return any(queue is None or _has_worker(task, queue, now) is None for task, queue in found)


def _has_worker(task: _Untaken, queue: Queue, now: datetime) -> bool | None:
    """None if the queue was described before the task had waited for too long.

    A pass asks once about a queue, and may take hours.
    """
    described_at = queue.described_at or now
    if any(_could_take(task, poller, described_at) for poller in queue.pollers):
        return True
    return False if _too_long(task.since, described_at) else None


def _untaken(workflow: OpenWorkflow, now: datetime) -> Iterator[_Untaken]:
    """Tasks that wait, in any attempt: the last worker may have died in the one before.

    Of workflow tasks, those from the third attempt on are failing, which comes first.
    """
    task = workflow.task
    if task and not task.is_started and _too_long(task.scheduled_at, now):
        queue = workflow.task_queue, QueueType.WORKFLOW
        yield _Untaken("the workflow task", queue, task.scheduled_at, workflow.version)
    for activity in oldest_first(workflow.activities):
        if activity.state is ActivityState.SCHEDULED and _too_long(activity.due_at, now):
            queue = activity.task_queue, QueueType.ACTIVITY
            yield _Untaken(
                name(activity.activity_type),
                queue,
                activity.due_at,
                _version_for(activity, workflow),
                activity.failure or "",
            )


def _too_long(scheduled_at: datetime | None, now: datetime) -> bool:
    return scheduled_at is not None and now - scheduled_at > WAITED


def _version_for(activity: PendingActivity, workflow: OpenWorkflow) -> str | None:
    """Its workflow's on the same queue. Temporal may choose another version on other queues."""
    return workflow.version if activity.task_queue == workflow.task_queue else None


def _could_take(task: _Untaken, poller: Poller, now: datetime) -> bool:
    if task.version and poller.version != task.version:
        return False
    return poller.last_seen_at is None or now - poller.last_seen_at <= POLLED_WITHIN


def _nobody_takes(task: _Untaken, queue: Queue, workflow: OpenWorkflow, now: datetime) -> Condition:
    queue_name, kind = task.queue
    worker = f"worker of version {name(task.version)}" if task.version else "worker"
    return condition(
        Reason.NO_WORKER,
        f"task queue {name(queue_name)}",
        f"no {worker} polls for {_KINDS[kind]}",
        (
            at(f"{task.what} due since", task.since, now),
            labelled("last failure:", task.failure),
            _backlog(queue),
            _last_poll(queue, now),
        ),
        since=task.since,
        own=(workflow.workflow_id,),
    )


def _backlog(queue: Queue) -> str | None:
    if not queue.backlog:
        return None
    age = f", the oldest for {duration(queue.backlog_age)}" if queue.backlog_age else ""
    return f"{plural(queue.backlog, 'task')} in the queue{age}"


def _last_poll(queue: Queue, now: datetime) -> str | None:
    """Who polled last: of another version, or too long ago."""
    seen = [(each.last_seen_at, each) for each in queue.pollers if each.last_seen_at]
    if not seen:
        return None
    last_seen_at, poller = max(seen, key=lambda each: each[0])
    version = f" of version {name(poller.version)}" if poller.version else ""
    return f"last poll at {moment(last_seen_at, now)} by {name(poller.identity)}{version}"
