"""From the description of an open run to what shows why it is open."""

from __future__ import annotations

from temporalio.api.enums.v1 import PendingWorkflowTaskState, VersioningBehavior
from temporalio.api.workflow.v1 import WorkflowExecutionInfo, WorkflowExecutionVersioningInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse as Description

from reconciler.core.stuck.workflow import OpenWorkflow, Pause, PendingChild, PendingTask
from reconciler.temporal.client.execution_info import PAUSED
from reconciler.temporal.stuck.evidence import MAX_ALIKE, PAUSE_INFO, REPORTED_PROBLEMS
from reconciler.temporal.stuck.pending import activities, operations
from reconciler.temporal.stuck.texts import Texts
from reconciler.temporal.stuck.values import keywords, moment, part

_PINNED = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
_STARTED = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED


async def open_workflow(description: Description, texts: Texts) -> OpenWorkflow:
    """What a description says, without what must be asked besides: children, the history."""
    info, extended = description.workflow_execution_info, description.workflow_extended_info
    return OpenWorkflow(
        workflow_id=info.execution.workflow_id,
        run_id=info.execution.run_id,
        workflow_type=info.type.name,
        parent_id=info.parent_execution.workflow_id,
        task_queue=info.task_queue,
        started_at=moment(info, "start_time"),
        execution_at=moment(info, "execution_time"),
        run_expires_at=moment(extended, "run_expiration_time"),
        execution_expires_at=moment(extended, "execution_expiration_time"),
        pause=await _pause(description, texts) if info.status == PAUSED else None,
        task=_task(description),
        problem=_problem(info),
        version=_version(info.versioning_info) if info.HasField("versioning_info") else None,
        activities=await activities(description, texts) if description.pending_activities else (),
        operations=(
            await operations(description, texts) if description.pending_nexus_operations else ()
        ),
        children=tuple(
            PendingChild(child.workflow_id, child.workflow_type_name)
            for child in description.pending_children[:MAX_ALIKE]
        ),
        has_more_children=len(description.pending_children) > MAX_ALIKE,
    )


async def _pause(description: Description, texts: Texts) -> Pause:
    pause = part(description.workflow_extended_info, "pause_info")
    if pause is not None:
        return Pause(
            moment(pause, "paused_time"),
            await texts.line(getattr(pause, "identity", "")),
            await texts.line(getattr(pause, "reason", "")),
        )
    # The oldest supported SDK does not read `pause_info`.
    said = keywords(description.workflow_execution_info.search_attributes, PAUSE_INFO)
    reasons = [each.removeprefix("Reason:") for each in said if each.startswith("Reason:")]
    return Pause(None, reason=await texts.line(", ".join(reasons)))


def _task(description: Description) -> PendingTask | None:
    """The pending workflow task; `original_scheduled_time` is that of the attempt, too."""
    if not description.HasField("pending_workflow_task"):
        return None
    task = description.pending_workflow_task
    attempt = max(task.attempt, 1)
    scheduled_at = moment(task, "original_scheduled_time") or moment(task, "scheduled_time")
    first = scheduled_at if attempt == 1 else None
    return PendingTask(attempt, scheduled_at, first, is_started=task.state == _STARTED)


def _problem(info: WorkflowExecutionInfo) -> str | None:
    """Such as `NonDeterministicError`, or `WorkflowTaskTimedOut: StartToClose`."""
    said = keywords(info.search_attributes, REPORTED_PROBLEMS)
    if not said:
        return None
    named = dict(each.split("=", 1) for each in said if "=" in each)
    category, cause = named.get("category", ""), named.get("cause", "")
    cause = cause.removeprefix(f"{category}Cause")
    if category == "WorkflowTaskFailed" and cause:
        return cause
    return ": ".join(filter(None, (category, cause))) or ", ".join(said)


def _version(info: WorkflowExecutionVersioningInfo) -> str | None:
    """The version that the run is pinned to, by an operator's override or by its own behavior."""
    override = info.versioning_override
    if info.HasField("versioning_override"):
        if override.HasField("pinned"):
            version = override.pinned.version
            return _joined(version.deployment_name, version.build_id)
        is_pinned, written = override.behavior == _PINNED, override.pinned_version
    else:
        is_pinned, written = info.behavior == _PINNED, info.version
        if is_pinned and (version := info.deployment_version).build_id:
            return _joined(version.deployment_name, version.build_id)
    # Servers before 1.30 write only this; a deployment's name contains no dot.
    return written.replace(".", ":", 1) or None if is_pinned else None


def _joined(deployment: str, build: str) -> str | None:
    return f"{deployment}:{build}" if build else None
