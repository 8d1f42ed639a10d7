"""A whole pass, with a frontend that answers and a history service that is failing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    WorkflowExecutionFailedEventAttributes,
)
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryResponse

from reconciler.core.model import RunRow
from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.temporal.client.connect import connect
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.fakes import MemoryStore
from tests.support.network.frontend import Answer, Frontend, described, frontend
from tests.support.passes.bench import reconcile

FAILED = Status.WORKFLOW_EXECUTION_STATUS_FAILED
CLOSED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
UNAVAILABLE = "UNAVAILABLE", "shard status unknown"
POLICY = Policy(retention=timedelta(days=1), missing=MissingPolicy.FAIL)


@pytest.fixture
async def front() -> AsyncIterator[Frontend]:
    async with frontend() as front:
        front.answers["GetWorkflowExecutionHistory"] = lambda _: failed_with("boom")
        yield front


def failed_with(message: str) -> GetWorkflowExecutionHistoryResponse:
    attributes = WorkflowExecutionFailedEventAttributes(failure=Failure(message=message))
    event = HistoryEvent(workflow_execution_failed_event_attributes=attributes)
    return GetWorkflowExecutionHistoryResponse(history=History(events=[event]))


def nested(depth: int) -> bytes:
    """A failure with `depth` causes, as the bytes of a close event: too deep for some parsers."""
    cause = Failure.DESCRIPTOR.fields_by_name["cause"].number
    body = Failure(message="root cause").SerializeToString()
    for _ in range(depth):
        body = Failure(message="a cause").SerializeToString() + _field(cause, body)
    around: list[tuple[Any, str]] = [
        (WorkflowExecutionFailedEventAttributes, "failure"),
        (HistoryEvent, "workflow_execution_failed_event_attributes"),
        (History, "events"),
        (GetWorkflowExecutionHistoryResponse, "history"),
    ]
    for message, name in around:
        body = _field(message.DESCRIPTOR.fields_by_name[name].number, body)
    return body


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


async def pass_over(
    front: Frontend, rows: int, describe: Callable[[int], Answer | None]
) -> tuple[MemoryStore, PassReport]:
    """A pass over rows whose workflows have failed, unless `describe` says otherwise."""

    def answer_about(request: Any) -> Answer:
        workflow_id = request.execution.workflow_id
        number = int(workflow_id.removeprefix("wf-"))
        failed = described(workflow_id, FAILED, f"run-{number}", close_time=CLOSED_AT)
        answer = describe(number)
        return failed if answer is None else answer

    front.answers["DescribeWorkflowExecution"] = answer_about
    rpc, _ = await connect({"target_host": front.address, "namespace": "default"}, 0)
    created = NOW - timedelta(hours=48)
    store = MemoryStore(RunRow(n, f"wf-{n}", f"run-{n}", created) for n in range(1, rows + 1))
    probe = NamespacesProbe(rpc)
    return store, await reconcile(store, probe, POLICY, batch_size=20)


@pytest.mark.parametrize(
    "answer",
    [
        UNAVAILABLE,
        ("CANCELLED", "context canceled"),
        ("DEADLINE_EXCEEDED", "context deadline exceeded"),
        ("INTERNAL", "bug"),
        ("DATA_LOSS", "corrupted"),
        ("PERMISSION_DENIED", "not this one"),
        b"\xff\xff garbage",
        b"",
    ],
    ids=str,
)
async def test_a_failing_workflow_does_not_stop_others(front: Frontend, answer: Answer) -> None:
    store, report = await pass_over(front, 100, lambda n: answer if n == 30 else None)

    assert sorted(store.finished) == [n for n in range(1, 101) if n != 30]
    assert (report.outcome, report.unknown) == (PassOutcome.UNRESOLVED, 1)


async def test_a_shard_that_is_down_does_not_stop_rows_of_others(front: Frontend) -> None:
    store, report = await pass_over(front, 400, lambda n: UNAVAILABLE if n % 4 == 0 else None)

    assert sorted(store.finished) == [n for n in range(1, 401) if n % 4]
    assert (report.outcome, report.unknown) == (PassOutcome.UNRESOLVED, 100)


async def test_a_history_service_that_is_down_ends_the_pass(front: Frontend) -> None:
    store, report = await pass_over(front, 400, lambda _: UNAVAILABLE)

    assert not store.finished
    assert report.outcome is PassOutcome.ABORTED
    assert "answers, but not about workflows: 50 rows in a row" in str(report.error)
    assert front.asked.total() < 400


@pytest.mark.parametrize(
    ("history", "text"),
    [
        pytest.param(nested(90), ": ".join(["a cause"] * 20), id="deep"),
        pytest.param(
            nested(97),
            "failed (the failure could not be read: Temporal's answer cannot be decoded: "
            "recursion limit reached)",
            id="too deep for the SDK",
        ),
        pytest.param(nested(5_000), "recursion limit reached)", id="far too deep"),
        pytest.param(
            failed_with("a marker").SerializeToString().replace(b"marker", b"\xff" * 6),
            "data is not UTF-8 encoded)",
            id="not UTF-8",
        ),
        pytest.param(b"\xff\xff", "cannot be decoded", id="not a message"),
        pytest.param(("NOT_FOUND", "no history"), "(the failure could not be read: no", id="gone"),
        pytest.param(("DATA_LOSS", "corrupted"), "could not be read: data_loss: cor", id="lost"),
        pytest.param(("INVALID_ARGUMENT", "x"), "read: invalid_argument: x)", id="refused"),
        pytest.param(("RESOURCE_EXHAUSTED", "message larger than max"), "larger", id="too large"),
        pytest.param(("OUT_OF_RANGE", "too large"), "out_of_range", id="too large for the SDK"),
        pytest.param(("INTERNAL", "something went wrong"), "internal: some", id="internal"),
    ],
)
async def test_an_unreadable_history_costs_only_the_text(
    front: Frontend, history: Answer, text: str
) -> None:
    front.answers["GetWorkflowExecutionHistory"] = lambda _: history

    store, report = await pass_over(front, 3, lambda _: None)

    assert report.outcome is PassOutcome.OK
    for outcome in store.finished.values():
        assert (outcome.status, outcome.completed_at) == ("failed", CLOSED_AT)
        assert text in str(outcome.error_message)
    assert len(store.finished) == 3


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(UNAVAILABLE, id="unavailable"),
        pytest.param(("ABORTED", "x"), id="aborted"),
        pytest.param(GetWorkflowExecutionHistoryResponse(), id="no events"),
        pytest.param(
            GetWorkflowExecutionHistoryResponse(history=History(events=[HistoryEvent()])),
            id="an event without a kind",
        ),
    ],
)
async def test_a_row_whose_history_may_be_readable_later_is_not_written(
    front: Frontend, history: Answer
) -> None:
    front.answers["GetWorkflowExecutionHistory"] = lambda _: history

    store, report = await pass_over(front, 3, lambda _: None)

    assert not store.finished
    assert (report.outcome, report.unknown) == (PassOutcome.UNRESOLVED, 3)
