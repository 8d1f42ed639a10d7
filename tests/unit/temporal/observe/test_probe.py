"""Answers that a real server gives only briefly, or only in another version."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionFailedEventAttributes
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from reconciler.core.model import Closed, CloseStatus, Observation, Open, Unknown
from reconciler.temporal.client.execution_info import PAUSED, to_datetime
from reconciler.temporal.observe.probe import TemporalProbe
from tests.support.factories import row

CLOSED_AT = Timestamp(seconds=1_795_000_000, nanos=123_456_789)


class StubRpc:
    """One run, and the event that closed it."""

    namespace = "ns"

    def __init__(self, info: WorkflowExecutionInfo, next_run: str = "") -> None:
        self.info, self.next_run = info, next_run
        self.counts: Counter[str] = Counter()

    async def describe(self, *_: str) -> DescribeWorkflowExecutionResponse:
        return DescribeWorkflowExecutionResponse(workflow_execution_info=self.info)

    async def close_event(self, *_: str) -> HistoryEvent:
        return HistoryEvent(
            workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
                failure=Failure(message="boom"), new_execution_run_id=self.next_run
            )
        )


def run(status: int, close_time: Timestamp | None = CLOSED_AT) -> WorkflowExecutionInfo:
    info: Any = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id="wf-1", run_id="run-1"),
        first_run_id="run-1",
        close_time=close_time,
    )
    info.status = status
    checked: WorkflowExecutionInfo = info
    return checked


async def observe(info: WorkflowExecutionInfo, next_run: str = "") -> Observation:
    rpc: Any = StubRpc(info, next_run)
    return await TemporalProbe(rpc).observe(row(1))


async def test_a_failed_run_is_closed() -> None:
    assert await observe(run(Status.WORKFLOW_EXECUTION_STATUS_FAILED)) == Closed(
        CloseStatus.FAILED, to_datetime(CLOSED_AT), "run-1", "boom"
    )


async def test_a_failed_run_with_a_successor_is_not_closed() -> None:
    observed = await observe(run(Status.WORKFLOW_EXECUTION_STATUS_FAILED), next_run="run-2")

    assert observed == Unknown("between two runs of a chain")


async def test_a_run_that_continued_as_new_is_not_closed() -> None:
    observed = await observe(run(Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW))

    assert observed == Unknown("between two runs of a chain")


async def test_a_run_without_a_close_time_is_not_closed() -> None:
    observed = await observe(run(Status.WORKFLOW_EXECUTION_STATUS_COMPLETED, close_time=None))

    assert isinstance(observed, Unknown)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (PAUSED, "PAUSED"),
        (Status.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED, "UNSPECIFIED"),
        pytest.param(99, "99", id="unknown"),
    ],
)
async def test_any_other_status_is_open_even_with_a_close_time(status: int, name: str) -> None:
    assert await observe(run(status)) == Open(name)


def test_a_time_keeps_its_microseconds() -> None:
    expected = datetime.fromtimestamp(CLOSED_AT.seconds, UTC).replace(microsecond=123_456)

    assert to_datetime(CLOSED_AT) == expected
