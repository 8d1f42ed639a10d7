"""Open workflows as Temporal describes them, with default values that tests override."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from reconciler.core.stuck.workflow import (
    ActivityState,
    OpenWorkflow,
    PendingActivity,
    PendingChild,
    PendingOperation,
    PendingTask,
    Poller,
    Queue,
)
from tests.support.factories import NOW

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def workflow(**fields: Any) -> OpenWorkflow:
    given: dict[str, Any] = {
        "workflow_id": "order-77",
        "run_id": "run-1",
        "workflow_type": "OrderWorkflow",
        "task_queue": "orders",
        "started_at": NOW - timedelta(hours=1),
    }
    return OpenWorkflow(**{**given, **fields})


def task(attempt: int = 1, *, age: timedelta = SECOND, is_started: bool = False) -> PendingTask:
    return PendingTask(attempt, NOW - age, NOW - age, is_started)


def activity(activity_type: str = "create_zone", **fields: Any) -> PendingActivity:
    """It is under way, for the first time."""
    given: dict[str, Any] = {
        "activity_id": "1",
        "task_queue": "zones",
        "state": ActivityState.STARTED,
        "attempt": 1,
        "first_scheduled_at": NOW - 10 * MINUTE,
        "scheduled_at": NOW - 10 * MINUTE,
        "started_at": NOW - MINUTE,
    }
    return PendingActivity(activity_type=activity_type, **{**given, **fields})


def retrying(activity_type: str = "create_zone", **fields: Any) -> PendingActivity:
    given: dict[str, Any] = {
        "state": ActivityState.SCHEDULED,
        "attempt": 7,
        "failure": "QuotaExceeded: zone limit is 50",
        "next_attempt_at": NOW + 7 * SECOND,
        "started_at": None,
    }
    return activity(activity_type, **{**given, **fields})


def untaken(activity_type: str = "create_zone", **fields: Any) -> PendingActivity:
    """No worker has taken it."""
    given: dict[str, Any] = {"state": ActivityState.SCHEDULED, "started_at": None}
    return activity(activity_type, **{**given, **fields})


def operation(**fields: Any) -> PendingOperation:
    given: dict[str, Any] = {
        "endpoint": "payments-ep",
        "service": "payments",
        "operation": "charge",
        "scheduled_at": NOW - 10 * MINUTE,
    }
    return PendingOperation(**{**given, **fields})


def child(workflow_id: str = "pay-1", of: OpenWorkflow | None = None) -> PendingChild:
    """None: it was not asked about."""
    return PendingChild(workflow_id, "PaymentWorkflow", of)


def queue(*seen: timedelta, version: str | None = None, **fields: Any) -> Queue:
    """With a poller for each of these times since its last poll."""
    return Queue(tuple(Poller("17@host", NOW - each, version) for each in seen), **fields)
