"""Thousands of workflows in seconds, without a worker: what a worker answers is answered here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
)
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client

#: Calls at the same time.
AT_ONCE = 32
_POLL_TIMEOUT = timedelta(seconds=30)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Run:
    """What a row knows of its workflow."""

    workflow_id: str
    run_id: str


_COMPLETE = Command(
    command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
    complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
)
_FAIL = Command(
    command_type=CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
    fail_workflow_execution_command_attributes=FailWorkflowExecutionCommandAttributes(
        failure=Failure(
            message="card declined",
            application_failure_info=ApplicationFailureInfo(type="OrderFailed"),
        )
    ),
)


async def each(work: Callable[[int], Awaitable[_T]], count: int) -> list[_T]:
    """Do it N times, several at the same time; the results, in order."""
    done: dict[int, _T] = {}
    numbers = iter(range(count))

    async def take_turns() -> None:
        for number in numbers:
            done[number] = await work(number)

    await asyncio.gather(*(take_turns() for _ in range(AT_ONCE)))
    return [done[number] for number in range(count)]


async def make_open(client: Client, count: int, task_queue: str) -> Sequence[Run]:
    """Workflows that stay open; those of one task queue can be ended later."""

    async def start(_: int) -> Run:
        return (await _start(client, task_queue, eagerly=False))[0]

    return await each(start, count)


async def make_closed(client: Client, count: int, *, fails: bool = False) -> Sequence[Run]:
    """Workflows that have completed, or failed.

    Started eagerly: the server hands out the first workflow task with its answer.
    """

    async def start_and_end(_: int) -> Run:
        run, token = await _start(client, "eager", eagerly=True)
        await _respond(client, token, _FAIL if fails else _COMPLETE)
        return run

    return await each(start_and_end, count)


async def end(client: Client, task_queue: str, count: int) -> None:
    """End N open workflows of a task queue, every fourth as failed, and wait for visibility."""

    async def poll_and_end(number: int) -> None:
        request = PollWorkflowTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue)
        )
        service, token = client.workflow_service, b""
        while not token:  # an empty poll is answered too
            answer = await service.poll_workflow_task_queue(request, timeout=_POLL_TIMEOUT)
            token = answer.task_token
        await _respond(client, token, _COMPLETE if number % 4 else _FAIL)

    await each(poll_and_end, count)
    query = f"TaskQueue = '{task_queue}' AND ExecutionStatus = 'Running'"
    count_request = CountWorkflowExecutionsRequest(namespace=client.namespace, query=query)
    # Visibility has no event to wait for.
    while (await client.workflow_service.count_workflow_executions(count_request)).count:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _start(client: Client, task_queue: str, *, eagerly: bool) -> tuple[Run, bytes]:
    workflow_id = f"order-{uuid4()}"
    answer = await client.workflow_service.start_workflow_execution(
        StartWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name="Order"),
            task_queue=TaskQueue(name=task_queue),
            workflow_task_timeout=Duration(seconds=60),
            request_id=workflow_id,
            request_eager_execution=eagerly,
        )
    )
    return Run(workflow_id, answer.run_id), answer.eager_workflow_task.task_token


async def _respond(client: Client, token: bytes, command: Command) -> None:
    await client.workflow_service.respond_workflow_task_completed(
        RespondWorkflowTaskCompletedRequest(
            namespace=client.namespace, task_token=token, commands=[command]
        )
    )
