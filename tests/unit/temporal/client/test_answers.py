"""Workflows that get no answer, one or many: what that means for their rows and the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from temporalio.api.enums.v1 import ResourceExhaustedCause as Cause
from temporalio.api.enums.v1 import ResourceExhaustedScope as Scope
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnfit, TemporalUnusable
from reconciler.core.model import Open, Unknown
from reconciler.temporal.client import calls as calls_module
from reconciler.temporal.client.answers import MAX_UNANSWERED, WARY
from reconciler.temporal.client.calls import BRIEF_TIMEOUT, RPC_TIMEOUT
from reconciler.temporal.client.error_codes import (
    NamespaceUnusable,
    NotFound,
    NotNow,
    Overloaded,
    RowError,
)
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import row
from tests.support.temporal.stubs import Namespaces, as_asked, error, rpc

UNAVAILABLE = error(RPCStatusCode.UNAVAILABLE, "shard status unknown")
DENIED = error(RPCStatusCode.PERMISSION_DENIED, "Request unauthorized.")


def exhausted(
    cause: Cause.ValueType = Cause.RESOURCE_EXHAUSTED_CAUSE_PERSISTENCE_LIMIT,
    scope: Scope.ValueType = Scope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
) -> RPCError:
    detail = ResourceExhaustedFailure(cause=cause, scope=scope)
    return error(RPCStatusCode.RESOURCE_EXHAUSTED, detail=detail)


THROTTLED = exhausted()
OVERLOADED = exhausted(scope=Scope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Sick(Namespaces):
    """Answers about all workflows but those in `trouble`: an error, or None for silence."""

    def __init__(self, **trouble: RPCError | None) -> None:
        self.trouble = trouble
        self.clock = Clock()
        self.limits: list[timedelta] = []
        self.namespaces_asked = 0

    async def describe_namespace(self, request: Any, **options: Any) -> Any:
        self.namespaces_asked += 1
        await asyncio.sleep(0)
        return await super().describe_namespace(request, **options)

    async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
        workflow_id, limit = request.execution.workflow_id, options["timeout"]
        await asyncio.sleep(0)
        if workflow_id not in self.trouble:
            return as_asked(request)
        self.limits.append(limit)
        if (refusal := self.trouble[workflow_id]) is None:
            self.clock.now += limit.total_seconds()
            refusal = error(RPCStatusCode.CANCELLED, "Timeout expired")
        raise refusal

    def rpc(self) -> Rpc:
        calls = rpc(self)
        calls._calls.answers.clock = self.clock
        return calls

    def probe(self) -> NamespacesProbe:
        return NamespacesProbe(self.rpc())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "THROTTLED_PAUSES", (1e-9,) * 2)


# --- Every code, for every kind of call ------------------------------------------------------

KINDS: dict[str, Callable[[Rpc], Awaitable[object]]] = {
    "describe": lambda calls: calls.describe("wf"),
    "describe a run": lambda calls: calls.describe("wf", "run-1"),
    "close event": lambda calls: calls.close_event("wf", "run-1"),
    "archive": lambda calls: anext(calls.archived_events("wf", "run-1")),
    "cancel cause": lambda calls: calls.cancel_cause("wf", "run-1"),
    "list": lambda calls: calls.list("WorkflowId = 'wf'", 1),
}
#: What each code means while Temporal answers about its namespace and no other row.
CODES: dict[str, tuple[RPCError | DecodeError, type[Exception]]] = {
    code.name: (error(code, "text"), RowError) for code in RPCStatusCode if code.name != "OK"
} | {
    "NOT_FOUND": (error(RPCStatusCode.NOT_FOUND), NotFound),
    "NOT_FOUND of the namespace": (
        error(RPCStatusCode.NOT_FOUND, detail=NamespaceNotFoundFailure()),
        TemporalUnfit,
    ),
    "UNAVAILABLE": (UNAVAILABLE, NotNow),
    "DEADLINE_EXCEEDED": (error(RPCStatusCode.DEADLINE_EXCEEDED), NotNow),
    "CANCELLED": (error(RPCStatusCode.CANCELLED), NotNow),
    "UNKNOWN of the transport": (error(RPCStatusCode.UNKNOWN, "transport error"), NotNow),
    "ABORTED": (error(RPCStatusCode.ABORTED), NotNow),
    "UNAVAILABLE by a certificate": (
        error(RPCStatusCode.UNAVAILABLE, "invalid peer certificate: Expired"),
        NotNow,
    ),
    "UNAVAILABLE by a setting": (error(RPCStatusCode.UNAVAILABLE, "InvalidUri"), NotNow),
    "PERMISSION_DENIED": (DENIED, TemporalUnfit),
    "UNAUTHENTICATED": (error(RPCStatusCode.UNAUTHENTICATED), TemporalUnfit),
    "RESOURCE_EXHAUSTED": (THROTTLED, NamespaceUnusable),
    "RESOURCE_EXHAUSTED everywhere": (OVERLOADED, Overloaded),
    "RESOURCE_EXHAUSTED for one workflow": (
        exhausted(Cause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW),
        NotNow,
    ),
    "RESOURCE_EXHAUSTED by a message": (
        error(RPCStatusCode.RESOURCE_EXHAUSTED, "trying to send message larger than max"),
        RowError,
    ),
    "no message": (DecodeError("recursion"), RowError),
}


class Always(Namespaces):
    """Answers everything but namespaces with one error."""

    def __init__(self, refusal: Exception, *, unreachable: bool = False) -> None:
        self.refusal = refusal
        self.silence = error(RPCStatusCode.UNAVAILABLE, "tcp error") if unreachable else None

    def __getattr__(self, name: str) -> Any:
        async def call(request: Message, **_: Any) -> Any:
            raise self.refusal

        return call


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_every_code_means_for_every_call(kind: str, code: str) -> None:
    refusal, meaning = CODES[code]
    if kind == "list" and meaning is NotFound:
        meaning = RowError  # a list never makes a workflow missing

    with pytest.raises(meaning) as raised:
        await KINDS[kind](rpc(Always(refusal)))

    permanent = meaning in {RowError, NotFound}
    assert isinstance(raised.value, NotNow) is (meaning is NotNow)
    assert isinstance(raised.value, NotFound) is (meaning is NotFound)
    assert isinstance(raised.value, TemporalUnusable) is not (permanent or meaning is NotNow)
    assert isinstance(raised.value, TemporalUnfit) is (meaning is TemporalUnfit)


SILENT = [
    code for code, (_, meaning) in CODES.items() if meaning is NotNow and "for one" not in code
]


@pytest.mark.parametrize("code", [code for code in SILENT if code != "ABORTED"])
@pytest.mark.parametrize("kind", KINDS)
async def test_silence_ends_the_pass_if_the_namespace_gets_no_answer_either(
    kind: str, code: str
) -> None:
    with pytest.raises(TemporalUnusable, match="unreachable") as unusable:
        await KINDS[kind](rpc(Always(CODES[code][0], unreachable=True)))
    assert not isinstance(unusable.value, TemporalUnfit), "waiting may help"


# --- One row ---------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [UNAVAILABLE, None], ids=["unavailable", "hangs"])
async def test_only_the_row_without_an_answer_is_unknown(
    refusal: RPCError | None,
) -> None:
    service = Sick(**{"wf-2": refusal})
    probe = service.probe()

    observed = await asyncio.gather(*(probe.observe(row(n)) for n in (1, 2, 3)))

    assert [type(each) for each in observed] == [Open, Unknown, Open]
    assert isinstance(observed[1], Unknown)
    assert "Temporal answers other calls" in observed[1].cause
    assert service.limits == [RPC_TIMEOUT] * 2, "it was retried"


async def test_concurrently_stuck_rows_check_the_namespace_once() -> None:
    service = Sick(**{f"wf-{n}": UNAVAILABLE for n in range(16)})
    probe = service.probe()

    observed = await asyncio.gather(*(probe.observe(row(n)) for n in range(16)))

    assert all(isinstance(each, Unknown) for each in observed)
    assert service.namespaces_asked == 1


async def test_an_answer_about_another_row_saves_the_check() -> None:
    class Overtaken(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            if request.execution.workflow_id == "wf-1":
                self.clock.now += 1
                await probe.observe(row(2))
            return await super().describe_workflow_execution(request, **options)

    service = Overtaken(**{"wf-1": UNAVAILABLE})
    probe = service.probe()

    assert isinstance(await probe.observe(row(1)), Unknown)
    assert service.namespaces_asked == 0


async def test_an_earlier_answer_proves_nothing() -> None:
    service = Sick(**{"wf-2": None})
    probe = service.probe()
    await probe.observe(row(1))
    service.silence = UNAVAILABLE

    with pytest.raises(TemporalUnusable, match="unreachable"):
        await probe.observe(row(2))


@pytest.mark.parametrize("refusal", [DENIED, THROTTLED], ids=["denied", "throttled"])
async def test_a_refusal_of_one_row_concerns_only_that_row(refusal: RPCError) -> None:
    class Refusing(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            if request.execution.workflow_id == "wf-1":
                self.clock.now += 1
                await probe.observe(row(2))
            return await super().describe_workflow_execution(request, **options)

    service = Refusing(**{"wf-1": refusal})
    probe = service.probe()

    assert isinstance(await probe.observe(row(1)), Unknown)

    with pytest.raises(NamespaceUnusable):  # and if no row is answered, it concerns all of them
        await Sick(**{"wf-1": refusal}).probe().observe(row(1))


async def test_a_refused_key_ends_the_pass_despite_earlier_answers() -> None:
    class Expiring(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            if request.execution.workflow_id == "wf-1":
                self.clock.now += 1
                await probe.observe(row(2))
                self.clock.now += 1
                self.silence = DENIED
            return await super().describe_workflow_execution(request, **options)

    service = Expiring(**{"wf-1": DENIED})
    probe = service.probe()

    with pytest.raises(TemporalUnfit, match="refuses access"):
        await probe.observe(row(1))


async def test_an_overload_ends_the_pass_even_if_others_are_answered() -> None:
    class Refusing(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            if request.execution.workflow_id == "wf-1":
                self.clock.now += 1
                await probe.observe(row(2))
            return await super().describe_workflow_execution(request, **options)

    probe = Refusing(**{"wf-1": OVERLOADED}).probe()

    with pytest.raises(Overloaded):
        await probe.observe(row(1))


async def test_an_earlier_check_proves_nothing() -> None:
    service = Sick(**{"wf-1": UNAVAILABLE, "wf-2": UNAVAILABLE})
    probe = service.probe()
    assert isinstance(await probe.observe(row(1)), Unknown)
    service.silence = UNAVAILABLE
    service.clock.now += 1

    with pytest.raises(TemporalUnusable, match="unreachable"):
        await probe.observe(row(2))


# --- Many rows -------------------------------------------------------------------------------


async def observe(probe: NamespacesProbe, *numbers: int) -> None:
    for number in numbers:
        await probe.observe(row(number))


@pytest.mark.parametrize("refusal", [UNAVAILABLE, None], ids=["unavailable", "hangs"])
async def test_too_many_rows_in_a_row_without_an_answer_end_the_pass(
    refusal: RPCError | None,
) -> None:
    service = Sick(**{f"wf-{n}": refusal for n in range(1, 200)})
    probe = service.probe()
    await observe(probe, *range(1, MAX_UNANSWERED))

    with pytest.raises(TemporalUnusable) as unusable:
        await observe(probe, MAX_UNANSWERED)

    assert "answers, but not about workflows: 50 rows in a row" in str(unusable.value)
    assert str(unusable.value).endswith("check its history service")
    assert not isinstance(unusable.value, NamespaceUnusable | TemporalUnfit)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="a description"),
        pytest.param(error(RPCStatusCode.NOT_FOUND), id="not found"),
        pytest.param(error(RPCStatusCode.INVALID_ARGUMENT), id="invalid argument"),
        pytest.param(exhausted(Cause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW), id="busy"),
    ],
)
async def test_an_answer_in_between_restarts_the_count(answer: RPCError | None) -> None:
    service = Sick(**{f"wf-{n}": UNAVAILABLE for n in range(1, 200)})
    probe = service.probe()
    await observe(probe, *range(1, MAX_UNANSWERED))
    if answer is not None:
        service.trouble["wf-1000"] = answer

    await observe(probe, 1000, *range(1, MAX_UNANSWERED))


async def test_lists_and_namespaces_do_not_count_as_answers_about_workflows() -> None:
    class Listing(Sick):
        async def list_workflow_executions(self, request: Any, **_: Any) -> Any:
            return type("Empty", (), {"executions": [], "next_page_token": b""})

    service = Listing(**{f"wf-{n}": UNAVAILABLE for n in range(1, 200)})
    probe = service.probe()

    async def go_through() -> None:
        for number in range(1, MAX_UNANSWERED + 1):
            await observe(probe, number)
            await probe.screen([row(1000)])
            await probe.describe(f"other-{number}")

    with pytest.raises(TemporalUnusable, match="not about workflows"):
        await go_through()


async def test_unanswered_lists_do_not_count_as_rows() -> None:
    calls = rpc(Always(UNAVAILABLE))

    for _ in range(MAX_UNANSWERED + 1):
        with pytest.raises(NotNow):
            await calls.list("WorkflowId = 'wf'", 1)


async def test_rows_of_all_namespaces_are_counted_together() -> None:
    service = Sick(**{f"wf-{n}": UNAVAILABLE for n in range(1, 200)})
    probe = service.probe()

    async def go_through() -> None:
        for number in range(MAX_UNANSWERED):
            await probe.observe(row(number + 1, namespace=f"other-{number % 2}"))

    with pytest.raises(TemporalUnusable, match="not about workflows"):
        await go_through()


async def test_each_pass_starts_its_own_count() -> None:
    service = Sick(**{f"wf-{n}": UNAVAILABLE for n in range(1, 200)})
    probe = service.probe()
    await observe(probe, *range(1, MAX_UNANSWERED))
    await probe.retention()

    await observe(probe, *range(1, MAX_UNANSWERED))


async def test_too_many_denied_rows_end_the_pass_with_the_denial() -> None:
    class Denying(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            self.clock.now += 1
            calls._calls.answers._last["ns"] = self.clock.now
            self.clock.now += 1
            return await super().describe_workflow_execution(request, **options)

    service = Denying(**{f"wf-{n}": DENIED for n in range(1, 200)})
    calls = service.rpc()
    probe = NamespacesProbe(calls)

    with pytest.raises(TemporalUnfit, match="refuses access"):
        await observe(probe, *range(1, MAX_UNANSWERED + 1))


# --- Time limits ------------------------------------------------------------------------------


async def test_after_several_rows_hung_the_next_get_less_time_and_no_retry() -> None:
    class Meanwhile(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            if request.execution.workflow_id in self.trouble:
                self.clock.now += 0.01
                await probe.observe(row(1000))
            return await super().describe_workflow_execution(request, **options)

    service = Meanwhile(**{f"wf-{n}": None for n in range(1, 20)})
    probe = service.probe()
    await observe(probe, *range(1, WARY + 3))

    assert service.limits == [RPC_TIMEOUT] * 2 * WARY + [BRIEF_TIMEOUT] * 2


async def test_if_no_row_is_answered_the_retry_has_the_full_time() -> None:
    """Everything may be slow: then the retry must be able to succeed."""
    service = Sick(**{f"wf-{n}": None for n in range(1, 20)})
    await observe(service.probe(), *range(1, WARY + 2))

    assert service.limits[-2:] == [BRIEF_TIMEOUT, RPC_TIMEOUT]


async def test_a_broken_connection_is_retried_even_then() -> None:

    class Meanwhile(Sick):
        async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
            if request.execution.workflow_id in self.trouble:
                self.clock.now += 0.01
                await probe.observe(row(1000))
            return await super().describe_workflow_execution(request, **options)

    hung = {f"wf-{n}": None for n in range(1, WARY + 1)}
    service = Meanwhile(**hung, **{f"wf-{WARY + 1}": UNAVAILABLE})
    probe = service.probe()
    await observe(probe, *range(1, WARY + 2))

    assert len(service.limits) == 2 * (WARY + 1)


async def test_after_rows_refused_at_once_the_next_have_the_full_time() -> None:
    service = Sick(**{f"wf-{n}": UNAVAILABLE for n in range(1, 20)})
    await observe(service.probe(), *range(1, 20))

    assert set(service.limits) == {RPC_TIMEOUT}


async def test_each_pass_begins_with_the_full_time() -> None:
    service = Sick(**{f"wf-{n}": None for n in range(1, 20)})
    probe = service.probe()
    await observe(probe, *range(1, WARY + 2))
    service.limits.clear()
    await probe.retention()
    await observe(probe, 1)

    assert service.limits == [RPC_TIMEOUT] * 2


async def test_an_archive_always_has_the_full_time() -> None:
    limits = []

    class Archive(Sick):
        async def get_workflow_execution_history(self, request: Any, **options: Any) -> Any:
            limits.append(options["timeout"])
            raise UNAVAILABLE

    calls = Archive().rpc()
    for _ in range(WARY + 1):
        with pytest.raises(NotNow):
            await anext(calls.archived_events("wf", "run-1"))

    assert set(limits) == {RPC_TIMEOUT}


async def test_a_namespace_check_that_hangs_is_not_retried() -> None:
    """It runs when a row has hung, which has already taken time."""
    tries = []

    class Silent(Sick):
        async def describe_namespace(self, request: Any, **options: Any) -> Any:
            tries.append(1)
            self.clock.now += options["timeout"].total_seconds()
            raise error(RPCStatusCode.CANCELLED, "Timeout expired")

    with pytest.raises(TemporalUnusable, match="unreachable"):
        await Silent(**{"wf-1": None}).probe().observe(row(1))

    assert len(tries) == 1
