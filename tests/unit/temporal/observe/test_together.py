"""Rows that are asked about together: what one answer says about several is asked once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import chain, repeat
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.history.v1 import History
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.model import Closed, Missing, Observation, RunRow, Unknown
from reconciler.temporal.client import once as once_module
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.observe.known_namespaces import JUST_NOW
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import NOW, row
from tests.support.temporal import archive_stub as events
from tests.support.temporal.stubs import Namespaces, error, rpc

GONE = error(RPCStatusCode.NOT_FOUND, "not found")


class Server(Namespaces):
    """Failed runs of any id, the current one by an empty run id; counts the calls."""

    def __init__(self, refusal: RPCError | None = None) -> None:
        self.refusal = refusal
        self.asked: Counter[tuple[str, ...]] = Counter()

    async def describe_workflow_execution(self, request: Any, **_: Any) -> Any:
        asked = request.execution
        self.asked["describe", asked.workflow_id, asked.run_id] += 1
        await asyncio.sleep(0)
        if self.refusal:
            raise self.refusal
        run_id = asked.run_id or "run-1"
        info = WorkflowExecutionInfo(
            status=Status.WORKFLOW_EXECUTION_STATUS_FAILED,
            first_run_id=run_id,
            execution=WorkflowExecution(workflow_id=asked.workflow_id, run_id=run_id),
        )
        info.start_time.FromDatetime(NOW - timedelta(hours=1))
        info.close_time.FromDatetime(NOW)
        return DescribeWorkflowExecutionResponse(workflow_execution_info=info)

    async def get_workflow_execution_history(self, request: Any, **_: Any) -> Any:
        self.asked["history", request.execution.workflow_id, request.execution.run_id] += 1
        await asyncio.sleep(0)
        return GetWorkflowExecutionHistoryResponse(history=History(events=[events.failed()]))


async def observe(server: Server, rows: Sequence[RunRow]) -> list[Observation]:
    asking = NamespacesProbe(rpc(server)).together(rows)
    return await asyncio.gather(*map(asking.observe, rows))


def of(id_: int, run_id: str | None = "run-1", **fields: Any) -> RunRow:
    return row(id_, workflow_id="one", run_id=run_id, **fields)


async def test_rows_of_one_run_need_one_description_and_one_history() -> None:
    server = Server()

    observed = await observe(server, [of(1), of(2), of(3, "RUN-1"), of(4, None)])

    assert all(isinstance(each, Closed) for each in observed)
    assert server.asked == {("describe", "one", ""): 1, ("history", "one", "run-1"): 1}


async def test_rows_of_several_runs_share_the_description_of_the_current_one() -> None:
    server = Server()

    observed = await observe(server, [of(1), of(2, "run-2"), of(3, "run-2"), of(4, "run-3")])

    assert all(isinstance(each, Closed) for each in observed)
    described = {run: count for (kind, _, run), count in server.asked.items() if kind == "describe"}
    assert described == {"": 1, "run-2": 1, "run-3": 1}
    assert all(count == 1 for count in server.asked.values())


async def test_rows_of_different_ids_and_namespaces_share_nothing() -> None:
    server = Server()

    await observe(server, [of(1), of(2, namespace="blue"), row(3, workflow_id="two")])

    assert server.asked["describe", "one", ""] == 2
    assert server.asked["describe", "two", ""] == 1


async def test_that_an_id_is_not_found_is_asked_once() -> None:
    server = Server(GONE)

    assert await observe(server, [of(1, None), of(2, None)]) == [Missing(), Missing()]
    assert server.asked == {("describe", "one", ""): 1}


async def test_any_other_error_is_of_one_row() -> None:
    server = Server(error(RPCStatusCode.INTERNAL, "shard"))

    observed = await observe(server, [of(1), of(2)])

    assert [isinstance(each, Unknown) for each in observed] == [True, True]
    assert server.asked == {("describe", "one", ""): 2}


async def test_a_large_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once_module, "MAX_BYTES", 10)
    server = Server()

    await observe(server, [of(1), of(2)])

    assert server.asked == {("describe", "one", ""): 2, ("history", "one", "run-1"): 2}


async def test_rows_that_are_asked_about_later_are_asked_about_again() -> None:
    server, probe = Server(), None
    probe = NamespacesProbe(rpc(server))

    for _ in range(2):
        asking = probe.together([of(1), of(2)])
        await asking.observe(of(1))

    assert server.asked["describe", "one", ""] == 2


@pytest.mark.parametrize(("later", "calls"), [(0, 1), (JUST_NOW, 2)])
async def test_a_namespace_that_was_just_described_is_not_described_again(
    later: float, calls: int
) -> None:
    """By the first pass; each later one asks."""
    times = chain([0.0], repeat(later))
    namespace = Namespace("ns", timedelta(days=1), frozenset(), archives_history=False)
    stub = rpc(Server())
    probe = NamespacesProbe(stub, described=namespace, clock=lambda: next(times))

    for _ in range(2):
        await probe.retention()

    assert stub.counts["namespace"] == calls
