"""A stub of a Temporal that archives histories, and events for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCancelRequestedEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionTimedOutEventAttributes,
    WorkflowTaskScheduledEventAttributes,
)
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from reconciler.temporal.client.error_codes import NotFound
from reconciler.temporal.client.namespace import Namespace
from tests.support.factories import NOW

CLOSED_AT = Timestamp(seconds=1_795_000_000, nanos=123_456_789)


def started(workflow_type: str = "Order") -> HistoryEvent:
    return HistoryEvent(
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
            workflow_type=WorkflowType(name=workflow_type)
        )
    )


def cancel_requested(cause: str) -> HistoryEvent:
    requested = WorkflowExecutionCancelRequestedEventAttributes(cause=cause)
    return HistoryEvent(workflow_execution_cancel_requested_event_attributes=requested)


def completed(next_run: str = "", close_time: Timestamp | None = CLOSED_AT) -> HistoryEvent:
    return HistoryEvent(
        event_time=close_time,
        workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(
            new_execution_run_id=next_run
        ),
    )


def failed(next_run: str = "", failure: Failure | None = None) -> HistoryEvent:
    return HistoryEvent(
        event_time=CLOSED_AT,
        workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
            failure=failure or Failure(message="boom"), new_execution_run_id=next_run
        ),
    )


def terminated(identity: str) -> HistoryEvent:
    return HistoryEvent(
        event_time=CLOSED_AT,
        workflow_execution_terminated_event_attributes=WorkflowExecutionTerminatedEventAttributes(
            identity=identity, reason="ticket 42"
        ),
    )


def continued(next_run: str) -> HistoryEvent:
    return HistoryEvent(
        event_time=CLOSED_AT,
        workflow_execution_continued_as_new_event_attributes=(
            WorkflowExecutionContinuedAsNewEventAttributes(new_execution_run_id=next_run)
        ),
    )


CANCELED = HistoryEvent(
    event_time=CLOSED_AT,
    workflow_execution_canceled_event_attributes=WorkflowExecutionCanceledEventAttributes(),
)
TIMED_OUT = HistoryEvent(
    event_time=CLOSED_AT,
    workflow_execution_timed_out_event_attributes=WorkflowExecutionTimedOutEventAttributes(),
)
TASK_SCHEDULED = HistoryEvent(
    event_time=CLOSED_AT,
    workflow_task_scheduled_event_attributes=WorkflowTaskScheduledEventAttributes(),
)


class StubRpc:
    """Live runs by id ("" for the current one), and archived histories by run id."""

    namespace = "ns"

    def __init__(
        self,
        archived: Mapping[str, Sequence[HistoryEvent] | Exception],
        live: Mapping[str, WorkflowExecutionInfo] | None = None,
    ) -> None:
        self.archived, self.live = archived, live or {}
        self.archives = True
        self.asked: list[str] = []

    async def describe_namespace(self) -> Namespace:
        return Namespace("ns", timedelta(days=1), frozenset(), self.archives)

    async def describe(self, _: str, run_id: str = "") -> DescribeWorkflowExecutionResponse:
        if run_id not in self.live:
            raise NotFound("workflow not found")
        return DescribeWorkflowExecutionResponse(workflow_execution_info=self.live[run_id])

    async def close_event(self, _: str, run_id: str) -> HistoryEvent:
        return continued("run-2") if run_id == "run-1" else failed()

    async def archived_events(self, _: str, run_id: str) -> AsyncIterator[HistoryEvent]:
        self.asked.append(run_id)
        events = self.archived.get(run_id, NotFound("history not found"))
        if isinstance(events, Exception):
            raise events
        for event in events:
            yield event


def live(run_id: str, status: Status.ValueType, first: str = "run-1") -> WorkflowExecutionInfo:
    return WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id="wf-1", run_id=run_id),
        first_run_id=first,
        status=status,
        close_time=CLOSED_AT,
        start_time=Timestamp(seconds=int((NOW - timedelta(hours=2)).timestamp())),
    )
