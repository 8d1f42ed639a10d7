"""Why the workflow tasks of a run fail, by its history.

Only the first of several failed attempts is written there (server 1.32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from temporalio.api.enums.v1 import TimeoutType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskFailedEventAttributes

from reconciler.temporal.stuck.texts import Texts
from reconciler.temporal.stuck.values import moment

#: Events to read, from the end: the failure, and signals that have arrived since.
EVENTS = 10

_RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
_TOO_SLOW = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The first of the failed attempts."""

    #: In one line.
    text: str
    #: When it was scheduled, or else when it failed.
    since: datetime | None


async def task_failure(latest: Sequence[HistoryEvent], texts: Texts) -> TaskFailure | None:
    """The failure in these events, the last of which comes first; None if they hold none."""
    for event in latest:
        match event.WhichOneof("attributes"):
            case "workflow_task_completed_event_attributes":
                return None
            case "workflow_task_failed_event_attributes":
                failed = event.workflow_task_failed_event_attributes
                if failed.cause != _RESET:
                    since = _since(latest, event, failed.scheduled_event_id)
                    return TaskFailure(await _describe(failed, texts), since)
            case "workflow_task_timed_out_event_attributes":
                timed_out = event.workflow_task_timed_out_event_attributes
                if timed_out.timeout_type == _TOO_SLOW:  # others only concern the choice of queue
                    since = _since(latest, event, timed_out.scheduled_event_id)
                    return TaskFailure("the worker did not answer in time", since)
    return None


async def _describe(failed: WorkflowTaskFailedEventAttributes, texts: Texts) -> str:
    if failed.HasField("failure"):
        return await texts.failure(failed.failure)
    if failed.cause not in WorkflowTaskFailedCause.values():
        return f"cause {failed.cause}"
    name = WorkflowTaskFailedCause.Name(failed.cause)
    return name.removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").lower().replace("_", " ")


def _since(
    latest: Sequence[HistoryEvent], failed: HistoryEvent, scheduled_id: int
) -> datetime | None:
    scheduled = next((event for event in latest if event.event_id == scheduled_id), failed)
    return moment(scheduled, "event_time")
