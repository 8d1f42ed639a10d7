"""What every error code means: for the row, the pass and the rate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.enums.v1 import ResourceExhaustedCause as Cause
from temporalio.api.enums.v1 import ResourceExhaustedScope as Scope
from temporalio.api.errordetails.v1 import (
    NamespaceNotFoundFailure,
    NotFoundFailure,
    ResourceExhaustedFailure,
)
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnfit, TemporalUnusable
from reconciler.temporal.client import calls as calls_module
from reconciler.temporal.client.error_codes import NamespaceUnusable, NotFound, RowError
from reconciler.temporal.client.rate_limiter import RateLimiter
from tests.support.temporal.stubs import Namespaces, as_asked, error, rpc

#: Stands for an answer.
ANSWER = None


NAMESPACE, SYSTEM = Scope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE, Scope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM


def throttling(
    cause: Cause.ValueType = Cause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT,
    scope: Scope.ValueType = NAMESPACE,
) -> RPCError:
    detail = ResourceExhaustedFailure(cause=cause, scope=scope)
    return error(RPCStatusCode.RESOURCE_EXHAUSTED, detail=detail)


class Service(Namespaces):
    """Gives these answers in turn, then always the last, also about the namespace."""

    def __init__(self, *answers: RPCError | None) -> None:
        self.answers = list(answers)
        self.silence = answers[-1]
        self.calls: list[dict[str, Any]] = []

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **options: Any
    ) -> DescribeWorkflowExecutionResponse:
        self.calls.append(options)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer
        return as_asked(request)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "THROTTLED_PAUSES", (1e-9,) * 3)


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        pytest.param(
            error(RPCStatusCode.NOT_FOUND, detail=NotFoundFailure()), NotFound, id="no workflow"
        ),
        pytest.param(error(RPCStatusCode.NOT_FOUND), NotFound, id="not found without detail"),
        pytest.param(error(RPCStatusCode.INVALID_ARGUMENT), RowError, id="invalid argument"),
        pytest.param(error(RPCStatusCode.INTERNAL), RowError, id="internal"),
        pytest.param(error(RPCStatusCode.UNKNOWN), RowError, id="unknown"),
        pytest.param(error(RPCStatusCode.UNIMPLEMENTED), RowError, id="unimplemented"),
        pytest.param(error(RPCStatusCode.DATA_LOSS), RowError, id="data loss"),
        pytest.param(
            throttling(Cause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW), RowError, id="busy workflow"
        ),
        pytest.param(
            throttling(Cause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW, SYSTEM),
            RowError,
            id="busy workflow in scope SYSTEM",
        ),
        pytest.param(
            error(RPCStatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max"),
            RowError,
            id="message too large",
        ),
    ],
)
async def test_some_errors_concern_only_the_row_and_are_not_retried(
    answer: RPCError, meaning: type[Exception]
) -> None:
    service, limiter = Service(answer), RateLimiter(100)

    with pytest.raises(meaning):
        await rpc(service, limiter).describe("wf")

    assert len(service.calls) == 1
    assert limiter.rate == 100, "no slowing down"


@pytest.mark.parametrize(
    ("answer", "message", "tries"),
    [
        pytest.param(
            error(RPCStatusCode.NOT_FOUND, detail=NamespaceNotFoundFailure(namespace="ns")),
            "no namespace 'ns': set TEMPORAL_NAMESPACE",
            1,
            id="absent namespace",
        ),
        pytest.param(
            error(RPCStatusCode.PERMISSION_DENIED),
            "refuses access.*TEMPORAL_API_KEY",
            1,
            id="denied",
        ),
        pytest.param(
            error(RPCStatusCode.UNAUTHENTICATED), "refuses access", 1, id="unauthenticated"
        ),
        pytest.param(error(RPCStatusCode.UNAVAILABLE), "unreachable", 2, id="unavailable twice"),
        pytest.param(error(RPCStatusCode.DEADLINE_EXCEEDED), "unreachable", 2, id="deadline twice"),
        pytest.param(error(RPCStatusCode.CANCELLED), "unreachable", 2, id="connection reset twice"),
        pytest.param(
            error(RPCStatusCode.UNKNOWN, "transport error"), "unreachable", 2, id="broken twice"
        ),
        pytest.param(throttling(), "keeps throttling.*RECONCILER_MAX_RPS", 4, id="throttled"),
        pytest.param(
            throttling(scope=Scope.RESOURCE_EXHAUSTED_SCOPE_UNSPECIFIED),
            "keeps throttling",
            4,
            id="throttled by an older server",
        ),
        pytest.param(
            error(RPCStatusCode.RESOURCE_EXHAUSTED), "keeps throttling", 4, id="by a proxy"
        ),
    ],
)
async def test_other_errors_end_the_pass(answer: RPCError, message: str, tries: int) -> None:
    service = Service(answer)

    with pytest.raises(TemporalUnusable, match=message):
        await rpc(service).describe("wf")

    assert len(service.calls) == tries


async def test_one_connection_error_is_retried() -> None:
    service = Service(error(RPCStatusCode.UNAVAILABLE), ANSWER)

    await rpc(service).describe("wf")

    assert len(service.calls) == 2


async def test_throttling_slows_down_and_retries() -> None:
    service, limiter = Service(throttling(), throttling(), ANSWER), RateLimiter(100)

    await rpc(service, limiter).describe("wf")

    assert 50 <= limiter.rate < 51, "halved once, and hardly any time to recover"


async def test_an_overloaded_server_is_not_retried() -> None:
    service, limiter = Service(throttling(scope=SYSTEM), ANSWER), RateLimiter(100)

    with pytest.raises(TemporalUnusable) as unusable:
        await rpc(service, limiter).describe("wf")

    assert str(unusable.value) == (
        "the whole Temporal server at t:7233 is overloaded, not only namespace 'ns' (text); "
        "nothing is lost: wait for the next pass, or run the command again later"
    )
    assert not isinstance(unusable.value, NamespaceUnusable), "other namespaces would continue"
    assert not isinstance(unusable.value, TemporalUnfit), "the loop would end"
    assert len(service.calls) == 1
    assert limiter.rate == 50, "the next pass begins slower"


async def test_a_prioritized_call_takes_a_slot_of_the_same_limit() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    calls = rpc(Service(ANSWER), RateLimiter(1, lambda: 1000, sleep))

    for _ in range(3):
        await calls.prioritized().describe("wf")
    assert waits == []
    await calls.describe("wf")
    assert waits == [3]
    assert calls.counts == {"describe": 1}, "prioritized calls are not the pass's"


async def test_a_throttled_prioritized_call_slows_the_others_down() -> None:
    limiter = RateLimiter(100)

    await rpc(Service(throttling(), ANSWER), limiter).prioritized().describe("wf")

    assert limiter.rate == 50


async def test_calls_apart_share_the_limits_and_neither_counts_nor_answers() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    calls = rpc(Service(ANSWER), RateLimiter(1, lambda: 1000, sleep))
    apart = calls.apart()

    await calls.describe("wf")
    for each in (apart, apart.in_namespace("other")):
        await each.describe("wf")

    assert waits == [1, 2]
    assert (calls.counts, apart.counts) == ({"describe": 1}, {"describe": 2})
    assert not calls._calls.answers.answered_since(0, "other")
    assert apart._calls.answers.answered_since(0, "other")


async def test_every_attempt_is_counted_and_limited_and_the_sdk_does_not_retry() -> None:
    service = Service(error(RPCStatusCode.UNAVAILABLE), ANSWER)
    calls = rpc(service)

    await calls.describe("wf")

    assert calls.counts == {"describe": 2}
    assert calls.ended_calls == {("describe", "UNAVAILABLE"): 1, ("describe", "OK"): 1}
    for options in service.calls:
        assert options["retry"] is False, "the SDK would retry for 15 s by itself"
        assert options["timeout"] == calls_module.RPC_TIMEOUT


async def test_a_cancelled_call_is_counted_too() -> None:
    class Silent(Service):
        async def describe_workflow_execution(
            self, request: DescribeWorkflowExecutionRequest, **options: Any
        ) -> DescribeWorkflowExecutionResponse:
            await asyncio.Event().wait()
            raise AssertionError

    calls = rpc(Silent(ANSWER))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await calls.describe("wf")

    assert calls.ended_calls == {("describe", "CANCELLED"): 1}
