"""Reading workers from what servers of several versions list."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.workflowservice.v1 import ListWorkersResponse
from temporalio.service import RPCError, RPCStatusCode

from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.workers import workflow_workers


class Service:
    def __init__(self, answer: ListWorkersResponse | None = None) -> None:
        self.answer, self.queries = answer, list[str]()

    async def list_workers(self, request: Any, **_: Any) -> ListWorkersResponse:
        self.queries.append(request.query)
        if self.answer is None:
            raise RPCError("unknown method", RPCStatusCode.UNIMPLEMENTED, b"")
        return self.answer

    def rpc(self) -> Rpc:
        client = SimpleNamespace(workflow_service=self)
        return cast("Rpc", SimpleNamespace(client=client, namespace="default"))


def with_heartbeats(*slots: int) -> ListWorkersResponse:
    """As a server before 1.30 lists workers with this many slots for workflow tasks."""
    answer = ListWorkersResponse()
    for number, free in enumerate(slots):
        beat = answer.workers_info.add().worker_heartbeat
        beat.worker_instance_key = beat.worker_identity = str(number)
        beat.host_info.host_name = "web-1"
        beat.status = WorkerStatus.WORKER_STATUS_RUNNING
        beat.workflow_task_slots_info.current_available_slots = free
        beat.plugins.add().name = "a.Plugin"
    return answer


async def test_an_older_server_lists_heartbeats_alone() -> None:
    answer = with_heartbeats(100, 0, 100)
    answer.workers_info[2].worker_heartbeat.status = WorkerStatus.WORKER_STATUS_SHUTTING_DOWN

    [found] = await workflow_workers(Service(answer).rpc(), ["a"])

    assert (found.identity, found.host, sorted(found.plugins)) == ("0", "web-1", ["a.Plugin"])


@pytest.mark.recent_sdk
async def test_a_later_server_may_leave_them_out() -> None:
    answer = ListWorkersResponse()
    answer.workers.add(
        worker_identity="7", host_name="web-2", status=WorkerStatus.WORKER_STATUS_RUNNING
    )

    [found] = await workflow_workers(Service(answer).rpc(), ["a"])

    assert (found.identity, found.host, sorted(found.plugins)) == ("7", "web-2", [])


async def test_a_server_without_the_call_knows_no_workers() -> None:
    assert await workflow_workers(Service().rpc(), ["a"]) == []


async def test_queues_whose_names_stores_read_differently_are_left_out() -> None:
    service = Service(ListWorkersResponse())

    await workflow_workers(service.rpc(), ["b", "a", "o'd"])
    await workflow_workers(service.rpc(), ["o'd"])

    assert service.queries == ["TaskQueue='a' OR TaskQueue='b'"]
