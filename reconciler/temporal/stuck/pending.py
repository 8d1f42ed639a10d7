"""What an open run has under way: activities and Nexus operations."""

from __future__ import annotations

from datetime import datetime

from temporalio.api.enums.v1 import PendingActivityState, PendingNexusOperationState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingNexusOperationInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse as Description

from reconciler.core.stuck.workflow import (
    ActivityState,
    Pause,
    PendingActivity,
    PendingOperation,
)
from reconciler.temporal.stuck.evidence import relevant_activities, relevant_operations
from reconciler.temporal.stuck.texts import Texts
from reconciler.temporal.stuck.values import moment, span

# By Temporal's own names.
_STATES = {
    PendingActivityState.Value(f"PENDING_ACTIVITY_STATE_{each}"): each for each in ActivityState
}
_BLOCKED = PendingNexusOperationState.PENDING_NEXUS_OPERATION_STATE_BLOCKED
# If its pause is only a flag, what that does in each state.
_PAUSED = {
    ActivityState.SCHEDULED: ActivityState.PAUSED,
    ActivityState.STARTED: ActivityState.PAUSE_REQUESTED,
}


async def activities(description: Description, texts: Texts) -> tuple[PendingActivity, ...]:
    """The activities that may show why the run is open."""
    queue = description.workflow_execution_info.task_queue
    return tuple([await _activity(each, queue, texts) for each in relevant_activities(description)])


async def operations(description: Description, texts: Texts) -> tuple[PendingOperation, ...]:
    """The Nexus operations that may show it."""
    return tuple([await _operation(each, texts) for each in relevant_operations(description)])


async def _activity(
    given: PendingActivityInfo, workflow_queue: str, texts: Texts
) -> PendingActivity:
    options = given.activity_options
    return PendingActivity(
        activity_id=given.activity_id,
        activity_type=given.activity_type.name,
        task_queue=options.task_queue.name or workflow_queue,
        state=_state(given),
        attempt=max(given.attempt, 1),
        maximum_attempts=given.maximum_attempts or None,
        first_scheduled_at=_first_scheduled(given),
        scheduled_at=moment(given, "scheduled_time"),
        started_at=moment(given, "last_started_time"),
        heartbeat_at=moment(given, "last_heartbeat_time"),
        heartbeat_timeout=span(options, "heartbeat_timeout"),
        next_attempt_at=moment(given, "next_attempt_schedule_time"),
        expires_at=moment(given, "expiration_time"),
        failure=await texts.failure(given.last_failure) if given.HasField("last_failure") else None,
        worker=given.last_worker_identity,
        pause=await _pause(given, texts),
    )


def _first_scheduled(given: PendingActivityInfo) -> datetime | None:
    """None of later attempts without a limit for all of them: what is said then is their own."""
    if given.attempt <= 1:
        return moment(given, "scheduled_time")
    expires_at = moment(given, "expiration_time")
    limit = span(given.activity_options, "schedule_to_close_timeout")
    return expires_at - limit if expires_at and limit else None


def _state(given: PendingActivityInfo) -> ActivityState | None:
    state = _STATES.get(given.state)
    return _PAUSED.get(state, state) if given.paused and state else state


async def _pause(given: PendingActivityInfo, texts: Texts) -> Pause | None:
    if not given.paused:
        return None
    pause = given.pause_info
    by, reason = pause.manual.identity, pause.manual.reason
    if pause.HasField("rule"):
        by, reason = f"rule {pause.rule.rule_id}", pause.rule.reason
    return Pause(moment(pause, "pause_time"), await texts.line(by), await texts.line(reason))


async def _operation(given: PendingNexusOperationInfo, texts: Texts) -> PendingOperation:
    failed = given.HasField("last_attempt_failure")
    return PendingOperation(
        endpoint=given.endpoint,
        service=given.service,
        operation=given.operation,
        scheduled_at=moment(given, "scheduled_time"),
        attempt=max(given.attempt, 1),
        blocked=await texts.line(given.blocked_reason) if given.state == _BLOCKED else None,
        failure=await texts.failure(given.last_attempt_failure) if failed else None,
    )
