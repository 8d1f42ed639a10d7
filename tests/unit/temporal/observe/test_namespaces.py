"""Rows that name a namespace are observed there, with the retention of that namespace."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ArchivalState
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    WorkflowExecutionCanceledEventAttributes,
)
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseResponse,
    ListWorkflowExecutionsResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnfit, TemporalUnusable
from reconciler.core.model import Closed, Missing, Observation, Open, RunRow, Unknown
from reconciler.core.ports import Ending
from reconciler.temporal.client import calls as calls_module
from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import NOW, chain, row
from tests.support.temporal.stubs import error, rpc

NOT_FOUND = error(RPCStatusCode.NOT_FOUND, "workflow not found")
ABSENT = error(RPCStatusCode.NOT_FOUND, detail=NamespaceNotFoundFailure())
DENIED = error(RPCStatusCode.PERMISSION_DENIED, "no")
THROTTLED = error(RPCStatusCode.RESOURCE_EXHAUSTED, detail=ResourceExhaustedFailure())
UNREACHABLE = error(RPCStatusCode.UNAVAILABLE, "tcp connect error")
RUNNING = WorkflowExecutionInfo(
    execution=WorkflowExecution(workflow_id="wf-1", run_id="run-1"),
    first_run_id="run-1",
    status=Status.WORKFLOW_EXECUTION_STATUS_RUNNING,
)


class Service:
    """Namespaces by name, with their answers; `asked` counts the calls by namespace."""

    def __init__(self, **answers: WorkflowExecutionInfo | RPCError) -> None:
        self.answers = answers
        self.retention: dict[str, timedelta] = {}
        self.described: dict[str, RPCError] = {}
        self.misnamed: dict[str, str] = {}
        self.archives = False
        self.asked: Counter[tuple[str, str]] = Counter()

    async def describe_namespace(
        self, request: DescribeNamespaceRequest, **_: Any
    ) -> DescribeNamespaceResponse:
        name = request.namespace
        self.asked["namespace", name] += 1
        await asyncio.sleep(0)
        if refusal := self.described.get(name):
            raise refusal
        if name != "ns" and name not in self.answers:
            raise ABSENT
        kept = Duration()
        kept.FromTimedelta(self.retention.get(name, timedelta(days=1)))
        states = ArchivalState.ARCHIVAL_STATE_DISABLED, ArchivalState.ARCHIVAL_STATE_ENABLED
        return DescribeNamespaceResponse(
            namespace_info=NamespaceInfo(name=self.misnamed.get(name, name)),
            config=NamespaceConfig(
                workflow_execution_retention_ttl=kept, history_archival_state=states[self.archives]
            ),
        )

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **_: Any
    ) -> DescribeWorkflowExecutionResponse:
        self.asked["describe", request.namespace] += 1
        answer = self.answers.get(request.namespace, NOT_FOUND)
        if isinstance(answer, RPCError):
            raise answer
        return DescribeWorkflowExecutionResponse(workflow_execution_info=answer)

    def __getattr__(self, name: str) -> Any:
        """Any other call: only its namespace matters here."""
        canceled = WorkflowExecutionCanceledEventAttributes()
        event = HistoryEvent(workflow_execution_canceled_event_attributes=canceled)
        answers = {
            "get_workflow_execution_history": GetWorkflowExecutionHistoryResponse(
                history=History(events=[event])
            ),
            "get_workflow_execution_history_reverse": GetWorkflowExecutionHistoryReverseResponse(),
            "list_workflow_executions": ListWorkflowExecutionsResponse(),
        }

        async def call(request: Any, **_: Any) -> Any:
            self.asked[name, request.namespace] += 1
            return answers[name]

        return call


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "THROTTLED_PAUSES", (1e-9,) * 2)


def probe(service: Service, **options: Any) -> NamespacesProbe:
    return NamespacesProbe(rpc(service), **options)


def of(namespace: str | None, **fields: Any) -> RunRow:
    return row(1, namespace=namespace, **fields)


@pytest.mark.parametrize("namespace", [None, "", "ns"])
async def test_a_row_without_a_namespace_or_with_the_configured_one_is_observed_there(
    namespace: str | None,
) -> None:
    service = Service(ns=RUNNING)

    assert await probe(service).observe(of(namespace)) == Open()
    assert service.asked == {("describe", "ns"): 1}, "and there are no other calls"


async def test_a_row_is_observed_in_the_namespace_that_it_names() -> None:
    service = Service(other=RUNNING)

    assert await probe(service).observe(of("other")) == Open()
    assert await probe(service).observe(of(None)) == Missing()


async def test_every_call_about_a_row_goes_to_its_namespace() -> None:
    closed = WorkflowExecutionInfo()
    closed.CopyFrom(RUNNING)
    closed.status = Status.WORKFLOW_EXECUTION_STATUS_CANCELED
    started, ended = Timestamp(), Timestamp()
    started.FromDatetime(NOW - timedelta(hours=1))
    ended.FromDatetime(NOW)
    closed.start_time.CopyFrom(started)
    closed.close_time.CopyFrom(ended)
    service = Service(other=closed)

    unnamed, asking = of("other", run_id=None), probe(service)
    observed = await asking.observe(unnamed)
    assert isinstance(observed, Closed)
    (uses,) = await asking.other_uses([Ending(unnamed, chain())])

    assert uses == Unknown("visibility does not show the end of run run-last yet")
    assert {kind for kind, _ in service.asked} == {
        "namespace",
        "describe",
        "get_workflow_execution_history",
        "get_workflow_execution_history_reverse",
        "list_workflow_executions",
    }
    assert {name for _, name in service.asked} == {"other"}


async def test_the_archive_is_read_if_the_rows_namespace_has_one() -> None:
    service = Service(other=NOT_FOUND)
    service.archives = True

    await probe(service, ask_archive=True).observe(of("other"))

    assert service.asked["get_workflow_execution_history", "other"] == 1


async def test_a_missing_row_has_the_retention_of_its_namespace() -> None:
    service = Service(other=NOT_FOUND)
    service.retention["other"] = timedelta(days=30)

    assert await probe(service).observe(of("other")) == Missing(retention=timedelta(days=30))


async def test_so_has_a_closed_row_that_may_turn_out_to_be_missing() -> None:
    ended = WorkflowExecutionInfo()
    ended.CopyFrom(RUNNING)
    ended.status = Status.WORKFLOW_EXECUTION_STATUS_COMPLETED
    ended.close_time.FromDatetime(NOW)
    service = Service(other=ended, ns=ended)
    service.retention["other"] = timedelta(days=30)

    observed = [await probe(service).observe(of(name)) for name in ("other", "ns")]

    assert all(isinstance(each, Closed) for each in observed)
    assert [getattr(each, "retention", ...) for each in observed] == [timedelta(days=30), None]


async def test_a_namespace_is_described_as_its_rows_are_observed() -> None:
    service = Service(other=RUNNING)
    service.retention["other"] = timedelta(days=30)
    asking = probe(service)

    described = await asking.describe("other")

    assert not isinstance(described, Unknown)
    assert (described.name, described.retention) == ("other", timedelta(days=30))
    await asking.observe(of("other"))
    assert service.asked["namespace", "other"] == 1, "once for both"
    for name in ("nowhere", " "):
        assert await asking.describe(name) == await asking.observe(of(name))


async def test_a_namespace_is_described_once_per_pass() -> None:
    service = Service(other=NOT_FOUND)
    asking = probe(service)
    assert await asking.retention() == timedelta(days=1)
    await asyncio.gather(*(asking.observe(of("other")) for _ in range(20)))
    assert service.asked["namespace", "other"] == 1

    service.retention["other"] = timedelta(days=7)
    await asking.retention()

    assert await asking.observe(of("other")) == Missing(retention=timedelta(days=7))
    assert service.asked["namespace", "ns"] == 2


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        (ABSENT, "Temporal at t:7233 has no namespace 'other': set the right one in the row"),
        (
            DENIED,
            "refuses access to namespace 'other' (permission_denied: no): check TEMPORAL_API_KEY",
        ),
        (
            error(RPCStatusCode.INVALID_ARGUMENT, "Invalid namespace."),
            "Temporal cannot describe namespace 'other': invalid_argument: Invalid namespace.",
        ),
        (
            THROTTLED,
            "keeps throttling namespace 'other' (text): lower RECONCILER_MAX_RPS",
        ),
    ],
    ids=["absent", "denied", "impossible", "throttled"],
)
async def test_an_unusable_namespace_makes_its_rows_unknown(
    refusal: RPCError, problem: str
) -> None:
    service = Service(ns=RUNNING, other=RUNNING)
    service.described["other"] = refusal
    asking = probe(service)

    observed = await asyncio.gather(*(asking.observe(of("other")) for _ in range(20)))

    assert all(isinstance(each, Unknown) and problem in each.cause for each in observed)
    # Once per pass, or once per attempt if the server says to retry.
    assert service.asked == {("namespace", "other"): 3 if refusal is THROTTLED else 1}
    assert await asking.observe(of(None)) == Open(), "the others are not affected"


@pytest.mark.parametrize("refusal", [ABSENT, DENIED, THROTTLED])
async def test_a_namespace_that_becomes_unusable_is_not_asked_about_every_row(
    refusal: RPCError,
) -> None:
    service = Service(other=refusal)
    asking = probe(service)

    first, second = [await asking.observe(of("other")) for _ in range(2)]

    assert isinstance(first, Unknown)
    assert "namespace 'other'" in first.cause
    assert second == first
    assert service.asked["describe", "other"] == (3 if refusal is THROTTLED else 1)


WRONG_CERTIFICATE = error(RPCStatusCode.UNAVAILABLE, "invalid peer certificate: UnknownIssuer")


@pytest.mark.parametrize(
    ("trouble", "problem"),
    [(UNREACHABLE, "unreachable"), (WRONG_CERTIFICATE, "no TLS.*UnknownIssuer")],
    ids=["unreachable", "not trusted"],
)
async def test_an_unreachable_server_ends_the_pass_whatever_namespace_the_row_names(
    trouble: RPCError, problem: str
) -> None:
    service = Service(other=trouble)
    service.described = {"ns": trouble, "other": trouble}

    with pytest.raises(TemporalUnusable, match=problem) as unusable:
        await probe(service).observe(of("other"))

    assert not isinstance(unusable.value, NamespaceUnusable)
    assert isinstance(unusable.value, TemporalUnfit) is (trouble is WRONG_CERTIFICATE)


@pytest.mark.parametrize(
    "trouble", [UNREACHABLE, WRONG_CERTIFICATE], ids=["unreachable", "not trusted"]
)
async def test_an_unreachable_namespace_makes_its_rows_unknown_if_others_answer(
    trouble: RPCError,
) -> None:
    service = Service(ns=RUNNING, other=RUNNING)
    service.described["other"] = trouble
    asking = probe(service)

    observed = await asyncio.gather(*(asking.observe(of("other")) for _ in range(20)))

    assert all(isinstance(each, Unknown) for each in observed)
    assert set(service.asked) <= {("namespace", "other"), ("namespace", "ns")}
    assert service.asked["namespace", "ns"] == 1
    assert await asking.observe(of(None)) == Open(), "the others are not affected"


async def test_a_namespace_that_becomes_unreachable_is_not_asked_about_every_row() -> None:
    service = Service(ns=RUNNING, other=RUNNING)
    asking = probe(service)
    assert await asking.observe(of("other")) == Open()
    service.answers["other"] = service.described["other"] = UNREACHABLE

    await asyncio.gather(*(asking.observe(of("other")) for _ in range(20)))
    asked = service.asked["describe", "other"]
    observed = await asking.observe(of("other"))

    assert isinstance(observed, Unknown)
    assert "cannot describe namespace 'other': unavailable: tcp connect error" in observed.cause
    assert service.asked["describe", "other"] == asked


async def test_a_workflow_without_an_answer_does_not_affect_its_namespace() -> None:
    service = Service(ns=RUNNING, other=UNREACHABLE)

    observed = await probe(service).observe(of("other"))

    assert isinstance(observed, Unknown)
    assert observed.cause.startswith("unavailable: tcp connect error")
    assert ("namespace", "ns") not in service.asked, "its own namespace was asked about"


@pytest.mark.parametrize("named", ["ns", "other"])
async def test_an_answer_about_another_namespace_is_an_error(named: str) -> None:
    service = Service(ns=RUNNING, other=RUNNING)
    service.misnamed[named] = "elsewhere"
    problem = f"asked about namespace '{named}', and answered about 'elsewhere'"

    if named == "ns":
        with pytest.raises(TemporalUnusable, match=problem):
            await probe(service).retention()
    else:
        observed = await probe(service).observe(of("other"))
        assert isinstance(observed, Unknown)
        assert problem in observed.cause


@pytest.mark.parametrize("refusal", [ABSENT, DENIED, THROTTLED])
async def test_an_unusable_configured_namespace_ends_the_pass(refusal: RPCError) -> None:
    with pytest.raises(TemporalUnusable):
        await probe(Service(ns=refusal)).observe(of("ns"))


@pytest.mark.parametrize("namespace", [" ", "other ", "\tother", "a\nb", "a\x00b"])
async def test_an_invalid_namespace_is_not_asked_about(namespace: str) -> None:
    service = Service()

    observed = await probe(service).observe(of(namespace))

    assert observed == Unknown(f"the row's namespace {namespace!r} cannot be one")
    assert not service.asked


async def test_calls_of_all_namespaces_are_counted_together() -> None:
    asking = probe(Service(ns=RUNNING, other=RUNNING))

    observed: list[Observation] = [await asking.observe(of(name)) for name in (None, "other")]

    assert observed == [Open(), Open()]
    assert asking.rpcs()["describe"] == 2
