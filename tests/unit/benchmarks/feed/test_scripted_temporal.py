from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)

from benchmarks.feed.scripted_temporal import ScriptedTemporal, run_of
from reconciler.core.model import CloseStatus
from tests.support.network.frontend import Frontend

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def script() -> ScriptedTemporal:
    """Ten completed workflows, the last of which is `order-9`, and one that has failed."""
    script = ScriptedTemporal(Frontend())
    for number in range(10):
        script.close(f"order-{number}", CloseStatus.COMPLETED, NOW + timedelta(seconds=number))
    script.close("order-10", CloseStatus.FAILED, NOW)
    return script


def listed(script: ScriptedTemporal, size: int, token: bytes = b"") -> tuple[list[str], bytes]:
    request = ListWorkflowExecutionsRequest(
        namespace="default",
        query="ExecutionStatus = 'Completed'",
        page_size=size,
        next_page_token=token,
    )
    answer = script.list(request)
    assert isinstance(answer, bytes)
    page = ListWorkflowExecutionsResponse.FromString(answer)
    return [each.execution.workflow_id for each in page.executions], page.next_page_token


def test_pages_go_on_where_the_last_one_ended_while_more_workflows_close(
    script: ScriptedTemporal,
) -> None:
    first, token = listed(script, 4)
    script.close("order-11", CloseStatus.COMPLETED, NOW + timedelta(minutes=1))
    second, token = listed(script, 100, token)

    assert first == ["order-9", "order-8", "order-7", "order-6"]
    assert second == [f"order-{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert token == b""


def test_a_list_of_ids_shows_those_that_are_open(script: ScriptedTemporal) -> None:
    query = "WorkflowId IN ('order-1', 'order-99') AND ExecutionStatus NOT IN ('Completed')"

    answer = script.list(ListWorkflowExecutionsRequest(namespace="default", query=query))

    assert isinstance(answer, ListWorkflowExecutionsResponse)
    assert [each.execution.workflow_id for each in answer.executions] == ["order-99"]


@pytest.mark.parametrize(
    ("workflow_id", "status"),
    [
        ("order-3", Status.WORKFLOW_EXECUTION_STATUS_COMPLETED),
        ("order-99", Status.WORKFLOW_EXECUTION_STATUS_RUNNING),
    ],
)
def test_a_description_shows_the_only_run(
    script: ScriptedTemporal, workflow_id: str, status: Status.ValueType
) -> None:
    asked = WorkflowExecution(workflow_id=workflow_id)

    answer = script.describe(DescribeWorkflowExecutionRequest(execution=asked))

    assert isinstance(answer, DescribeWorkflowExecutionResponse)
    info = answer.workflow_execution_info
    assert (info.status, info.first_run_id) == (status, run_of(workflow_id))
    assert info.HasField("close_time") == (workflow_id == "order-3")


def test_the_history_of_a_failed_run_ends_with_its_failure(script: ScriptedTemporal) -> None:
    asked = WorkflowExecution(workflow_id="order-10")

    answer = script.history(GetWorkflowExecutionHistoryRequest(execution=asked))

    assert isinstance(answer, GetWorkflowExecutionHistoryResponse)
    (event,) = answer.history.events
    failure = event.workflow_execution_failed_event_attributes.failure
    assert failure.message == "card declined"


def test_a_poll_is_counted_once_however_much_it_lists(script: ScriptedTemporal) -> None:
    listed(script, 5)
    request = ListWorkflowExecutionsRequest(
        namespace="default", query="ExecutionStatus = 'Terminated'", page_size=5
    )

    script.list(request)
    script.list(
        ListWorkflowExecutionsRequest(
            namespace="default", query=request.query, next_page_token=b"0"
        )
    )

    assert script.polls == 1
