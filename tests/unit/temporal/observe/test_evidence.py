"""What is no evidence: answers about something else, contradictions, and gaps of old servers.

Each of these once led, or could lead, to a row that says what Temporal never said.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseResponse,
    ListWorkflowExecutionsResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.model import Closed, CloseStatus, Missing, Observation, Open, RunRow, Unknown
from reconciler.core.ports import Ending
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import NOW, chain, row
from tests.support.temporal import archive_stub as events
from tests.support.temporal.stubs import Namespaces, error, rpc

CREATED = NOW - timedelta(hours=48)
GONE = error(RPCStatusCode.NOT_FOUND, "not found")
RUNNING, FAILED = Status.WORKFLOW_EXECUTION_STATUS_RUNNING, Status.WORKFLOW_EXECUTION_STATUS_FAILED
COMPLETED = Status.WORKFLOW_EXECUTION_STATUS_COMPLETED
CANCELED = Status.WORKFLOW_EXECUTION_STATUS_CANCELED
TERMINATED = Status.WORKFLOW_EXECUTION_STATUS_TERMINATED
CONTINUED = Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def run(
    run_id: str = "run-1",
    status: Status.ValueType = FAILED,
    first: str = "run-1",
    reset: str = "",
    started: datetime = CREATED,
    **fields: Any,
) -> DescribeWorkflowExecutionResponse:
    info = WorkflowExecutionInfo(status=status, first_run_id=first, **fields)
    info.execution.workflow_id, info.execution.run_id = "wf-1", run_id
    info.start_time.CopyFrom(stamp(started))
    if status != RUNNING and not info.HasField("close_time"):
        info.close_time.CopyFrom(stamp(NOW))
    described = DescribeWorkflowExecutionResponse(workflow_execution_info=info)
    described.workflow_extended_info.reset_run_id = reset
    return described


class Server(Namespaces):
    """Runs by id, the current one by ""; close events by run id."""

    def __init__(
        self,
        runs: dict[str, DescribeWorkflowExecutionResponse],
        closes: dict[str, HistoryEvent | RPCError] | None = None,
        backwards: RPCError | None = None,
        listed: RPCError | None = None,
    ) -> None:
        self.runs, self.closes = runs, closes or {}
        self.backwards, self.listed = backwards, listed

    async def describe_workflow_execution(self, request: Any, **_: Any) -> Any:
        if request.execution.run_id not in self.runs:
            raise GONE
        return self.runs[request.execution.run_id]

    async def get_workflow_execution_history(self, request: Any, **_: Any) -> Any:
        event = self.closes.get(request.execution.run_id, events.failed())
        if isinstance(event, RPCError):
            raise event
        return GetWorkflowExecutionHistoryResponse(history=History(events=[event]))

    async def get_workflow_execution_history_reverse(self, *_: Any, **__: Any) -> Any:
        if self.backwards:
            raise self.backwards
        return GetWorkflowExecutionHistoryReverseResponse()

    async def list_workflow_executions(self, *_: Any, **__: Any) -> Any:
        if self.listed:
            raise self.listed
        return ListWorkflowExecutionsResponse()


async def observe(server: Server, of: RunRow | None = None) -> Observation:
    of = of or row(1, created_at=CREATED)
    return await NamespacesProbe(rpc(server)).observe(of)


def altered(**fields: str) -> DescribeWorkflowExecutionResponse:
    described = run()
    for name, value in fields.items():
        setattr(described.workflow_execution_info.execution, name, value)
    return described


# --- An answer about something else ----------------------------------------------------------


@pytest.mark.parametrize(
    "described",
    [
        pytest.param(altered(workflow_id="wf-2"), id="another workflow"),
        pytest.param(altered(workflow_id=""), id="no workflow"),
        pytest.param(altered(run_id=""), id="no run"),
        pytest.param(DescribeWorkflowExecutionResponse(), id="nothing"),
    ],
)
async def test_a_description_of_something_else_is_no_evidence(
    described: DescribeWorkflowExecutionResponse,
) -> None:
    for of in (row(1, created_at=CREATED), row(1, run_id=None, created_at=CREATED)):
        assert isinstance(await observe(Server({"": described}), of), Unknown)


async def test_a_description_of_another_run_is_no_evidence() -> None:
    """Neither for the row's run nor for the first run of the chain that uses its id."""
    current = run("run-9", RUNNING, first="run-8")
    server = Server({"": current, "run-1": run("run-2", first="run-2")})
    assert isinstance(await observe(server), Unknown)

    of = row(1, run_id=None, created_at=CREATED)
    server = Server({"": run("run-9", first="run-8"), "run-8": run("run-7", started=CREATED)})
    assert isinstance(await observe(server, of), Unknown)


async def test_a_run_id_in_upper_case_is_the_same() -> None:
    server = Server({"": run("run-9", RUNNING, first="run-8"), "RUN-1": run("run-1")})

    observed = await observe(server, row(1, run_id="RUN-1", created_at=CREATED))

    assert isinstance(observed, Closed)
    assert observed.run_id == "run-1"


async def test_a_first_run_in_upper_case_is_the_row_s_own() -> None:
    server = Server({"": run("run-9", RUNNING, first="run-1")})

    assert await observe(server, row(1, run_id="RUN-1", created_at=CREATED)) == Open()


# --- A history that contradicts the description ----------------------------------------------


@pytest.mark.parametrize(
    ("status", "event"),
    [
        pytest.param(FAILED, events.completed(), id="completed"),
        pytest.param(FAILED, events.TIMED_OUT, id="timed out"),
        pytest.param(FAILED, events.TASK_SCHEDULED, id="not closed"),
        pytest.param(FAILED, HistoryEvent(), id="nothing"),
        pytest.param(FAILED, events.continued(""), id="continued as nothing"),
        pytest.param(FAILED, events.continued("run-2"), id="continued"),
        pytest.param(FAILED, events.failed("run-2"), id="retried"),
        pytest.param(CANCELED, events.failed(), id="failed"),
        pytest.param(TERMINATED, events.terminated("history-resetter"), id="reset"),
    ],
)
async def test_a_close_event_that_contradicts_the_status_is_no_evidence(
    status: Status.ValueType, event: HistoryEvent
) -> None:
    described = run(status=status)

    assert isinstance(await observe(Server({"": described}, {"run-1": event})), Unknown)


@pytest.mark.parametrize("status", [FAILED, COMPLETED])
@pytest.mark.parametrize(
    "event", [events.TASK_SCHEDULED, HistoryEvent(), events.terminated("history-resetter"), GONE]
)
async def test_a_run_of_a_walked_chain_is_the_last_only_if_its_history_agrees(
    status: Status.ValueType, event: HistoryEvent | RPCError
) -> None:
    runs = {"": run("run-9", RUNNING, first="run-8"), "run-1": run(status=status)}

    assert isinstance(await observe(Server(runs, {"run-1": event})), Unknown)


async def test_a_described_run_without_a_history_is_not_missing() -> None:
    assert isinstance(await observe(Server({"run-1": run()}, {"run-1": GONE})), Unknown)


async def test_a_reset_run_is_not_an_end_if_the_server_does_not_name_the_new_one() -> None:
    """Before 1.28 a description does not name the run that a reset has started."""
    runs = {"": run("run-9", RUNNING, first="run-8"), "run-1": run(status=TERMINATED)}
    server = Server(runs, {"run-1": events.terminated("history-resetter")})

    assert isinstance(await observe(server), Unknown)


# --- Histories that cannot be read -----------------------------------------------------------


async def test_a_cancellation_with_an_unreadable_reason_is_written() -> None:
    unimplemented = error(RPCStatusCode.UNIMPLEMENTED, "no such method")
    server = Server({"": run(status=CANCELED)}, {"run-1": events.CANCELED}, unimplemented)

    observed = await observe(server)

    assert isinstance(observed, Closed)
    assert observed.status is CloseStatus.CANCELED
    assert observed.failure == (
        "canceled (the reason could not be read: unimplemented: no such method)"
    )


async def test_a_cancellation_whose_reason_may_be_readable_later_is_not_written() -> None:
    unavailable = error(RPCStatusCode.UNAVAILABLE, "shard")
    server = Server({"": run(status=CANCELED)}, {"run-1": events.CANCELED}, unavailable)

    assert isinstance(await observe(server), Unknown)


async def test_not_found_for_a_list_does_not_make_a_workflow_missing() -> None:
    server = Server({"": run(status=COMPLETED)}, listed=GONE)

    ending = Ending(row(1, run_id=None, created_at=CREATED), chain())
    (uses,) = await NamespacesProbe(rpc(server)).other_uses([ending])

    assert isinstance(uses, Unknown)


async def test_a_history_is_read_twice_before_the_text_goes_without_it() -> None:
    class Once(Server):
        tries = 0

        async def get_workflow_execution_history(self, request: Any, **_: Any) -> Any:
            self.tries += 1
            if self.tries == 1:
                raise error(RPCStatusCode.INTERNAL, "once")
            return await super().get_workflow_execution_history(request)

    observed = await observe(Once({"": run()}))

    assert isinstance(observed, Closed)
    assert observed.failure == "boom"


# --- Servers that do not say where a chain begins --------------------------------------------


@pytest.mark.parametrize("status", [RUNNING, FAILED, COMPLETED])
async def test_without_a_first_run_id_an_id_in_use_is_never_missing(
    status: Status.ValueType,
) -> None:
    current = run("run-9", status, first="", started=CREATED + timedelta(hours=1))

    observed = await observe(Server({"": current}))

    assert observed == Missing("run not found, id in use", id_in_use=True)


@pytest.mark.parametrize("status", [COMPLETED, FAILED])
async def test_without_a_first_run_id_an_earlier_run_may_have_been_reset_to_the_current_one(
    status: Status.ValueType,
) -> None:
    closes: dict[str, HistoryEvent | RPCError] = {
        "run-1": events.completed() if status == COMPLETED else events.failed()
    }
    for current in (RUNNING, FAILED):
        runs = {"": run("run-9", current, first=""), "run-1": run(status=status, first="")}
        assert isinstance(await observe(Server(runs, closes)), Unknown)


async def test_without_a_first_run_id_the_rows_chain_is_walked_to_the_current_run() -> None:
    last = run("run-2", FAILED, first="")
    runs = {"": last, "run-1": run(status=CONTINUED, first=""), "run-2": last}
    server = Server(runs, {"run-1": events.continued("run-2")})

    observed = await observe(server)

    assert isinstance(observed, Closed)
    assert observed.run_id == "run-2"


async def test_without_a_first_run_id_the_current_run_is_recognised_by_its_id() -> None:
    assert isinstance(await observe(Server({"": run(first="")})), Closed)


@pytest.mark.parametrize(
    ("status", "expected"), [(RUNNING, Open), (COMPLETED, Unknown), (FAILED, Unknown)]
)
async def test_without_a_first_run_id_a_row_without_a_run_id_is_not_finished(
    status: Status.ValueType, expected: type[Observation]
) -> None:
    """Its start may be that of a later run of a chain that began before the row."""
    of = row(1, run_id=None, created_at=CREATED)

    assert isinstance(await observe(Server({"": run(status=status, first="")}), of), expected)


async def test_a_chain_that_began_with_the_row_may_be_the_rows_own() -> None:
    """The two clocks differ, as for rows without a run id."""
    current = run("run-9", RUNNING, first="run-9", started=CREATED + timedelta(seconds=1))

    observed = await observe(Server({"": current, "run-9": current}))

    assert observed == Missing("run not found, id in use", id_in_use=True)


# --- Times -----------------------------------------------------------------------------------

YEAR = 365 * 86_400
TIMES = {
    "none": None,
    "1970": Timestamp(),
    "Go's none": Timestamp(seconds=-62_135_596_800),
    "a nanosecond after it": Timestamp(seconds=-62_135_596_800, nanos=1),
    "before the calendar": Timestamp(seconds=-62_135_596_801),
    "the end of the calendar": Timestamp(seconds=253_402_300_799, nanos=999_999_999),
    "after the calendar": Timestamp(seconds=253_402_300_800),
    "too many nanoseconds": Timestamp(seconds=1_795_000_000, nanos=1_000_000_000),
    "negative nanoseconds": Timestamp(seconds=1_795_000_000, nanos=-1),
    "far outside": Timestamp(seconds=2**62),
    "far outside, before": Timestamp(seconds=-(2**62)),
}


@pytest.mark.parametrize("status", [COMPLETED, FAILED])
@pytest.mark.parametrize("name", TIMES)
async def test_an_impossible_close_time_is_not_stored(name: str, status: Status.ValueType) -> None:
    described = run(status=status)
    described.workflow_execution_info.ClearField("close_time")
    if (moment := TIMES[name]) is not None:
        described.workflow_execution_info.close_time.CopyFrom(moment)

    observed = await observe(Server({"": described}))

    assert isinstance(observed, Unknown)
    assert "close time" in observed.cause


@pytest.mark.parametrize("moment", [Timestamp(nanos=1_000), Timestamp(seconds=4 * YEAR)])
async def test_an_unusual_close_time_is_stored_as_it_is(moment: Timestamp) -> None:
    observed = await observe(Server({"": run(status=COMPLETED, close_time=moment)}))

    assert isinstance(observed, Closed)
    assert observed.close_time.timestamp() * 1e6 == pytest.approx(moment.ToMicroseconds())


@pytest.mark.parametrize("name", TIMES)
async def test_an_impossible_start_time_matches_no_row(name: str) -> None:
    current = run("run-9", COMPLETED, first="run-9")
    current.workflow_execution_info.ClearField("start_time")
    if (moment := TIMES[name]) is not None:
        current.workflow_execution_info.start_time.CopyFrom(moment)
    server = Server({"": current})

    assert isinstance(await observe(server, row(1, run_id=None, created_at=CREATED)), Unknown)
    assert isinstance(await observe(server), Unknown), "nor does it show that the id was reused"


@pytest.mark.parametrize("year", [1, 9999])
async def test_a_row_from_the_ends_of_the_calendar_is_observed(year: int) -> None:
    of = row(1, run_id=None, created_at=CREATED.replace(year=year, month=1, day=2))
    current = run(status=RUNNING)

    assert await observe(Server({"": current}), of) == Open()
