"""Visibility that refuses: rows are described instead, and the reason is logged once."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.api.enums.v1 import ResourceExhaustedCause as Cause
from temporalio.api.enums.v1 import ResourceExhaustedScope as Scope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.model import RunRow
from reconciler.host.causes import MAX_LINES
from reconciler.temporal.client import calls as calls_module
from reconciler.temporal.client.error_codes import Overloaded
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.observe.visibility import Visibility
from tests.support.factories import row
from tests.support.temporal.stubs import error, rpc
from tests.support.temporal.visibility_stub import Service, run

UNAVAILABLE = "visibility_unavailable"


def throttled(scope: Scope.ValueType) -> RPCError:
    cause = Cause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    detail = ResourceExhaustedFailure(cause=cause, scope=scope)
    return error(RPCStatusCode.RESOURCE_EXHAUSTED, detail=detail)


OF_THE_NAMESPACE = throttled(Scope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE)
OF_THE_SERVER = throttled(Scope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM)
REFUSALS = [
    pytest.param(error(RPCStatusCode.UNIMPLEMENTED, "no list"), 1, id="unimplemented"),
    pytest.param(error(RPCStatusCode.PERMISSION_DENIED, "no"), 1, id="denied"),
    pytest.param(error(RPCStatusCode.INVALID_ARGUMENT, "bad query"), 1, id="invalid"),
    pytest.param(error(RPCStatusCode.UNAVAILABLE, "store is down"), 2, id="unavailable"),
    pytest.param(error(RPCStatusCode.DEADLINE_EXCEEDED, "slow"), 2, id="too slow"),
    pytest.param(error(RPCStatusCode.INTERNAL, "bug"), 1, id="internal"),
    pytest.param(OF_THE_NAMESPACE, 3, id="throttled"),
]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "THROTTLED_PAUSES", (1e-9,) * 2)


def of(workflow_id: str = "wf", namespace: str | None = None) -> RunRow:
    return row(1, workflow_id=workflow_id, run_id="run-1", namespace=namespace)


def refusing(*refusals: RPCError) -> Service:
    service = Service(run("wf", "run-1"))
    service.refusals["ns"] = list(refusals)
    return service


@pytest.mark.parametrize(("refusal", "tries"), REFUSALS)
async def test_rows_are_unknown_and_it_is_not_asked_again_in_the_pass(
    refusal: RPCError, tries: int
) -> None:
    service, visibility = refusing(refusal), Visibility()
    calls = rpc(service)

    with capture_logs() as lines:
        shown = [await visibility.screen(calls, [of(), of("other")]) for _ in range(3)]

    assert shown == [[None, None]] * 3
    assert len(service.asked) == tries, "transient errors are retried"
    assert [line["event"] for line in lines] == [UNAVAILABLE]
    assert (lines[0]["log_level"], lines[0]["namespace"]) == ("warning", "ns")
    assert lines[0]["why"]


async def test_the_next_pass_asks_again() -> None:
    service, visibility = refusing(error(RPCStatusCode.UNIMPLEMENTED)), Visibility()
    calls = rpc(service)
    await visibility.screen(calls, [of()])
    service.refusals.clear()
    visibility.start_pass()

    assert await visibility.screen(calls, [of()]) == [True]


async def test_the_same_reason_is_logged_once_and_a_new_one_again() -> None:
    service = refusing(
        error(RPCStatusCode.UNIMPLEMENTED, "no list"),
        error(RPCStatusCode.UNIMPLEMENTED, "no list"),
        error(RPCStatusCode.PERMISSION_DENIED, "no"),
    )
    visibility, calls = Visibility(), rpc(service)

    with capture_logs() as lines:
        for _ in range(3):
            visibility.start_pass()
            await visibility.screen(calls, [of()])

    assert len(service.asked) == 3
    assert [line["log_level"] for line in lines] == ["warning", "debug", "warning"]
    assert "unimplemented: no list" in lines[0]["why"]
    assert "refuses access" in lines[2]["why"]


async def test_a_refusal_in_the_middle_leaves_all_rows_unknown() -> None:
    plain = [of(f"wf-{number}") for number in range(1001)]

    class Once(Service):
        async def list_workflow_executions(self, request: Any, **options: Any) -> Any:
            if self.asked:
                raise error(RPCStatusCode.UNIMPLEMENTED)
            return await super().list_workflow_executions(request, **options)

    assert await Visibility().screen(rpc(Once()), plain) == [None] * 1001


async def test_an_overload_of_the_whole_server_ends_the_pass() -> None:
    service = refusing(OF_THE_SERVER)

    with pytest.raises(Overloaded):
        await Visibility().screen(rpc(service), [of()])

    assert len(service.asked) == 1


class Counting(RateLimiter):
    """A limiter without a limit, which counts."""

    def __init__(self) -> None:
        super().__init__(0)
        self.acquired = self.slowed = 0

    async def acquire(self, *, wait: bool = True) -> None:
        self.acquired += 1

    def throttled(self) -> None:
        self.slowed += 1


class TestLimits:
    """Visibility has its own quota on the server, and so its own limit here."""

    async def test_a_list_counts_in_both_limits_and_a_description_in_one(self) -> None:
        every, lists = Counting(), Counting()
        calls = rpc(Service(run("wf", "run-1")), every, list_limiter=lists)

        await Visibility().screen(calls, [of()])
        assert (every.acquired, lists.acquired) == (1, 1)
        await calls.describe("wf")
        assert (every.acquired, lists.acquired) == (2, 1)

    async def test_a_list_that_is_throttled_slows_down_lists_only(self) -> None:
        every, lists = Counting(), Counting()
        calls = rpc(refusing(OF_THE_NAMESPACE), every, list_limiter=lists)

        await Visibility().screen(calls, [of()])

        assert (every.slowed, lists.slowed) == (0, 3)
        assert (every.acquired, lists.acquired) == (3, 3), "each attempt"

    async def test_all_namespaces_share_the_limits(self) -> None:
        every, lists = Counting(), Counting()
        calls = rpc(Service(), every, list_limiter=lists).in_namespace("other")

        await Visibility().screen(calls, [of()])

        assert (every.acquired, lists.acquired) == (1, 1)


class TestNamespaces:
    """Each row is listed in its own namespace."""

    def probe(self, service: Service) -> NamespacesProbe:
        return NamespacesProbe(rpc(service))

    async def test_one_call_per_namespace(self) -> None:
        service = Service(run("a", "run-1"), run("c", "run-1"))
        rows = [of("a", "x"), of("b"), of("c", "x"), of("d", "ns"), of("e", "")]

        assert await self.probe(service).screen(rows) == [True, False, True, False, False]
        asked = {
            each.namespace: sorted(ids)
            for each, ids in zip(service.asked, service.ids, strict=True)
        }
        assert asked == {"x": ["a", "c"], "ns": ["b", "d", "e"]}

    async def test_rows_of_an_unusable_namespace_are_unknown(self) -> None:
        service = Service(run("a", "run-1"))
        service.namespaces["x"] = [error(RPCStatusCode.PERMISSION_DENIED, "no")]

        assert await self.probe(service).screen([of("a", "x"), of("a")]) == [None, True]
        assert [each.namespace for each in service.asked] == ["ns"]

    async def test_a_namespace_that_refuses_does_not_affect_the_others(self) -> None:
        service = Service(run("a", "run-1"))
        service.refusals["x"] = [error(RPCStatusCode.PERMISSION_DENIED, "no")]
        probe = self.probe(service)

        for _ in range(2):
            assert await probe.screen([of("a", "x"), of("a")]) == [None, True]
        assert [each.namespace for each in service.asked] == ["x", "ns", "ns"]

    async def test_reading_the_retention_begins_a_pass(self) -> None:
        service = refusing(error(RPCStatusCode.UNIMPLEMENTED))
        probe = self.probe(service)
        assert await probe.screen([of()]) == [None]
        service.refusals.clear()
        assert await probe.screen([of()]) == [None]

        await probe.retention()

        assert await probe.screen([of()]) == [True]

    async def test_chains_are_remembered_in_all_namespaces(self) -> None:
        service = Service(run("a", "run-2", first="run-1"))
        probe = self.probe(service)
        await probe.observe(of("a", "x"))

        assert await probe.screen([of("a", "x")]) == [True]


async def test_many_namespaces_that_refuse_are_logged_in_a_few_lines() -> None:
    service, visibility = Service(), Visibility()
    names = [f"ns-{number}" for number in range(250)]
    for name in names:
        service.refusals[name] = [error(RPCStatusCode.UNIMPLEMENTED, "no list")] * 3
    calls, logged = rpc(service), []
    for _ in range(3):
        with capture_logs() as lines:
            visibility.start_pass()
            for name in names:
                await visibility.screen(calls.in_namespace(name), [of(namespace=name)])
        logged.append([line["event"] for line in lines if line["log_level"] == "warning"])

    more = "more_visibility_unavailable"
    assert logged == [[UNAVAILABLE] * MAX_LINES, [more], []]
