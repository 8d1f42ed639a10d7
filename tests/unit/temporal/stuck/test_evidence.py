"""What is kept of a description until somebody asks why the run is open."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Memo, Payload, Payloads, SearchAttributes, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState, PendingNexusOperationState
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import (
    PendingActivityInfo,
    PendingChildExecutionInfo,
    PendingNexusOperationInfo,
    WorkflowExecutionInfo,
)
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)

from reconciler.core.model import Open
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.stuck.evidence import MAX_ALIKE, REPORTED_PROBLEMS, Evidence, still_open
from tests.support.factories import row
from tests.support.temporal.stubs import Namespaces, rpc

BLOCKED = PendingNexusOperationState.PENDING_NEXUS_OPERATION_STATE_BLOCKED
MEGABYTE = Payload(data=b"x" * 2**20)


def described(
    run_id: str = "run-1", status: int = Status.WORKFLOW_EXECUTION_STATUS_RUNNING
) -> DescribeWorkflowExecutionResponse:
    run = WorkflowExecution(workflow_id="wf-1", run_id=run_id)
    info = WorkflowExecutionInfo(execution=run, first_run_id="run-1", task_queue="q")
    info.status = status  # type: ignore[assignment]  # also statuses of newer servers
    return DescribeWorkflowExecutionResponse(workflow_execution_info=info)


def test_a_small_description_is_kept_as_it_is() -> None:
    description = described()

    evidence = still_open("ns", description).evidence

    assert isinstance(evidence, Evidence)
    assert evidence.description is description


def test_of_a_large_description_what_applications_put_into_it_is_not_kept() -> None:
    given = described()
    info = given.workflow_execution_info
    info.memo.CopyFrom(Memo(fields={"plan": MEGABYTE}))
    problem = Payload(data=b'["category=WorkflowTaskFailed"]')
    found = {"Customer": MEGABYTE, REPORTED_PROBLEMS: problem}
    info.search_attributes.CopyFrom(SearchAttributes(indexed_fields=found))
    activity = PendingActivityInfo(activity_id="1", heartbeat_details=Payloads(payloads=[MEGABYTE]))
    given.pending_activities.append(activity)
    given.pending_workflow_task.attempt = 7
    given.workflow_extended_info.run_expiration_time.seconds = 5

    kept = Evidence.of("ns", given).description

    assert kept.ByteSize() < 1024
    assert kept.workflow_execution_info.execution == info.execution
    assert kept.workflow_execution_info.task_queue == "q"
    assert dict(kept.workflow_execution_info.search_attributes.indexed_fields) == {
        REPORTED_PROBLEMS: problem
    }
    assert [each.activity_id for each in kept.pending_activities] == ["1"]
    assert kept.pending_workflow_task.attempt == 7
    assert kept.workflow_extended_info.run_expiration_time.seconds == 5
    assert given.pending_activities[0].HasField("heartbeat_details"), "others may share it"


def scheduled(number: int) -> PendingActivityInfo:
    return PendingActivityInfo(
        activity_id=str(number),
        state=PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED,
        scheduled_time=Timestamp(seconds=9000 - number),
    )


def test_of_thousands_of_activities_some_of_each_kind_are_kept_and_those_that_waited_longest() -> (
    None
):
    given = described()
    given.pending_activities.extend(scheduled(each) for each in range(2000))
    given.pending_activities.append(PendingActivityInfo(activity_id="retrying", attempt=5))
    given.pending_activities.append(PendingActivityInfo(activity_id="paused", paused=True))
    children = (PendingChildExecutionInfo(workflow_id=str(each)) for each in range(2000))
    given.pending_children.extend(children)
    operations = (PendingNexusOperationInfo(operation=str(each)) for each in range(2000))
    given.pending_nexus_operations.extend(operations)
    given.pending_nexus_operations[1999].state = BLOCKED

    kept = Evidence.of("ns", given).description

    ids = {each.activity_id for each in kept.pending_activities}
    assert ids == {"retrying", "paused", *map(str, range(1980, 2000))}
    assert len(kept.pending_children) == MAX_ALIKE + 1
    assert kept.pending_nexus_operations[0].operation == "1999", "the blocked one"


class Service(Namespaces):
    """A closed or continued first run, `run-1`, and the current run of the id."""

    def __init__(self, **runs: DescribeWorkflowExecutionResponse) -> None:
        self.runs = runs

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **_: object
    ) -> DescribeWorkflowExecutionResponse:
        return self.runs[request.execution.run_id.replace("-", "_") or "current"]


RESET = described(status=Status.WORKFLOW_EXECUTION_STATUS_TERMINATED)
RESET.workflow_extended_info.reset_run_id = "run-2"
SECOND = described("run-2")
ANOTHER = described("run-3")
ANOTHER.workflow_execution_info.first_run_id = "run-3"


@pytest.mark.parametrize(
    ("service", "run_id", "expected"),
    [
        pytest.param(Service(current=described()), "run-1", described(), id="the current run"),
        pytest.param(Service(current=described()), None, described(), id="no run id"),
        pytest.param(Service(current=SECOND), "run-1", SECOND, id="a later run of its chain"),
        pytest.param(
            Service(current=SECOND, run_0=described("run-0")),
            "run-0",
            SECOND,
            id="a run from the middle",
        ),
        pytest.param(
            Service(current=ANOTHER, run_1=RESET, run_2=SECOND), "run-1", SECOND, id="a reset run"
        ),
        pytest.param(
            Service(current=described(status=8)), "run-1", described(status=8), id="paused"
        ),
        pytest.param(
            Service(current=described(status=99)), "run-1", described(status=99), id="new"
        ),
    ],
)
async def test_every_open_run_that_was_described_comes_with_its_evidence(
    service: Service, run_id: str | None, expected: DescribeWorkflowExecutionResponse
) -> None:
    observed = await NamespacesProbe(rpc(service)).observe(row(1, run_id=run_id))

    assert isinstance(observed, Open)
    assert observed.evidence == Evidence("ns", expected)
