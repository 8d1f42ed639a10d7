"""What Temporal says about an open workflow, as far as it shows why that is still open.

Texts of failures in them are decoded and redacted already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a workflow or an activity, and why."""

    at: datetime | None
    #: The operator, or the rule; empty if Temporal does not say.
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PendingTask:
    """The workflow task that is due or under way."""

    attempt: int
    #: When this attempt was scheduled.
    scheduled_at: datetime | None
    #: When its first attempt was, if that is known.
    first_scheduled_at: datetime | None = None
    #: Whether a worker has it.
    is_started: bool = False


class ActivityState(StrEnum):
    """Where an activity is, by Temporal's names."""

    SCHEDULED = "SCHEDULED"
    STARTED = "STARTED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    PAUSED = "PAUSED"
    PAUSE_REQUESTED = "PAUSE_REQUESTED"


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """An activity that has not ended."""

    activity_id: str
    activity_type: str
    #: Its own, which may differ from the workflow's.
    task_queue: str
    state: ActivityState | None
    attempt: int
    #: None: as many as it takes.
    maximum_attempts: int | None = None
    #: When its first attempt was scheduled, if that is known.
    first_scheduled_at: datetime | None = None
    #: When this attempt was, or will be.
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    heartbeat_timeout: timedelta | None = None
    next_attempt_at: datetime | None = None
    expires_at: datetime | None = None
    #: Of the last attempt, in one line; None if there was none.
    failure: str | None = None
    #: The identity of the worker that has it, or last had it.
    worker: str = ""
    pause: Pause | None = None

    @property
    def due_at(self) -> datetime | None:
        """When a worker should take this attempt, or should have."""
        return self.next_attempt_at or self.scheduled_at


@dataclass(frozen=True, slots=True)
class PendingOperation:
    """A Nexus operation that has not ended."""

    endpoint: str
    service: str
    operation: str
    scheduled_at: datetime | None
    attempt: int = 1
    #: Why Temporal does not attempt it, such as an open circuit breaker; None if it does.
    blocked: str | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class PendingChild:
    """A child workflow that has not ended."""

    workflow_id: str
    workflow_type: str
    #: What Temporal says about it; None if it was not asked.
    workflow: OpenWorkflow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWorkflow:
    """An open run. Times are Temporal's; None where it gives none."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    #: The workflow id of its parent; empty if it has none.
    parent_id: str = ""
    started_at: datetime | None = None
    #: When its first workflow task is due: later than the start after a delay or between retries.
    execution_at: datetime | None = None
    run_expires_at: datetime | None = None
    execution_expires_at: datetime | None = None
    pause: Pause | None = None
    task: PendingTask | None = None
    #: Temporal's name for why its workflow tasks keep failing; None if it reports none.
    problem: str | None = None
    #: Why its last workflow task failed, by its history; None if that was not read.
    task_failure: str | None = None
    #: The worker deployment version it is pinned to, as `deployment:build`.
    version: str | None = None
    activities: tuple[PendingActivity, ...] = ()
    operations: tuple[PendingOperation, ...] = ()
    children: tuple[PendingChild, ...] = ()
    #: Whether it has children that are not in `children`.
    has_more_children: bool = False
    #: When Temporal said so; None: now.
    described_at: datetime | None = None


class QueueType(StrEnum):
    """What a task queue holds; a name stands for one queue of each."""

    WORKFLOW = "WORKFLOW"
    ACTIVITY = "ACTIVITY"


#: The name of a task queue and what it holds.
QueueKey: TypeAlias = tuple[str, QueueType]


@dataclass(frozen=True, slots=True)
class Poller:
    """A worker that polls, or has polled, a task queue."""

    identity: str
    last_seen_at: datetime | None
    #: As `OpenWorkflow.version`; None for an unversioned worker.
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """The state of a task queue. Temporal lists pollers for five minutes after their last poll."""

    pollers: tuple[Poller, ...] = ()
    #: Tasks that wait; None if Temporal does not say. Tasks on sticky queues are not counted.
    backlog: int | None = None
    #: How long the oldest of them has waited.
    backlog_age: timedelta | None = None
    #: When Temporal said so; None: now.
    described_at: datetime | None = None
