"""What is kept of the description of an open run until somebody asks why it is open.

A pass describes every open row, and few of them are stuck: so nothing is converted here. But a page
of rows must not hold what applications put into descriptions (memos, search attributes, details of
heartbeats, thousands of activities), which may be megabytes each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from google.protobuf.message import Message
from temporalio.api.enums.v1 import PendingActivityState as ActivityState
from temporalio.api.enums.v1 import PendingNexusOperationState as OperationState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingNexusOperationInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse as Description

from reconciler.core.model import Open
from reconciler.host.steady_clock import steady
from reconciler.temporal.client.execution_info import status_name

#: A larger description is not kept as it is. Most have 1 to 2 KB.
MAX_BYTES = 8 * 1024
#: Pending activities of one kind, operations and children that are looked at.
MAX_ALIKE = 20
#: The search attributes by which Temporal itself says what is wrong.
REPORTED_PROBLEMS = "TemporalReportedProblems"
PAUSE_INFO = "TemporalPauseInfo"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What Temporal says about an open run."""

    namespace: str
    description: Description
    #: When it arrived, by the steady clock.
    received_at: float = field(default_factory=steady, compare=False)

    @classmethod
    def of(cls, namespace: str, description: Description) -> Evidence:
        """All of the description if it is small, else what shows why the run is open."""
        is_small = description.ByteSize() <= MAX_BYTES
        return cls(namespace, description if is_small else _essence(description))


def still_open(namespace: str, description: Description) -> Open:
    """The observation of an open run, with its evidence."""
    status = status_name(description.workflow_execution_info)
    return Open(status, evidence=Evidence.of(namespace, description))


def relevant_activities(described: Description) -> list[PendingActivityInfo]:
    """The pending activities to look at: of each kind, those that have waited longest."""
    kinds = defaultdict[object, list[PendingActivityInfo]](list)
    for each in described.pending_activities:
        kinds[each.state, each.attempt > 1, each.paused].append(each)
    return [
        each for alike in kinds.values() for each in sorted(alike, key=_waits_since)[:MAX_ALIKE]
    ]


def _waits_since(activity: PendingActivityInfo) -> int:
    if activity.state == ActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        return activity.scheduled_time.seconds
    return max(activity.last_started_time.seconds, activity.last_heartbeat_time.seconds)


def relevant_operations(described: Description) -> list[PendingNexusOperationInfo]:
    """The pending Nexus operations to look at: the blocked ones first."""
    blocked = OperationState.PENDING_NEXUS_OPERATION_STATE_BLOCKED
    operations = sorted(described.pending_nexus_operations, key=lambda each: each.state != blocked)
    return operations[:MAX_ALIKE]


def _essence(description: Description) -> Description:
    kept, info = Description(), description.workflow_execution_info
    few = kept.workflow_execution_info
    _copy(info, few, "execution", "type", "start_time", "execution_time", "versioning_info")
    few.status, few.task_queue, few.first_run_id = info.status, info.task_queue, info.first_run_id
    attributes = info.search_attributes.indexed_fields
    for name in (REPORTED_PROBLEMS, PAUSE_INFO):
        if name in attributes and attributes[name].ByteSize() <= MAX_BYTES:
            few.search_attributes.indexed_fields[name].CopyFrom(attributes[name])
    extended = description.workflow_extended_info
    times = "execution_expiration_time", "run_expiration_time"
    _copy(extended, kept.workflow_extended_info, *times, "pause_info")
    _copy(description, kept, "pending_workflow_task")
    kept.pending_activities.extend(relevant_activities(description))
    for activity in kept.pending_activities:
        activity.ClearField("heartbeat_details")
    kept.pending_nexus_operations.extend(relevant_operations(description))
    kept.pending_children.extend(description.pending_children[: MAX_ALIKE + 1])
    return kept


def _copy(given: Message, kept: Message, *names: str) -> None:
    """Copy these fields, but those that the oldest supported SDK does not know."""
    for name in names:
        if name in given.DESCRIPTOR.fields_by_name and given.HasField(name):
            getattr(kept, name).CopyFrom(getattr(given, name))
