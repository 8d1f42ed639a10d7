"""Makes thousands of workflows in seconds, without a worker: raw calls answer their tasks."""

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

#: Concurrent calls.
CONCURRENCY = 32
#: Of a poll for a task.
POLL_TIMEOUT = timedelta(seconds=30)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Run:
    """The ids of a workflow, as in its row."""

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
    """Do the work `count` times, concurrently; return the results in order."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def do(number: int) -> _T:
        async with slots:
            return await work(number)

    return await asyncio.gather(*map(do, range(count)))


async def make_open(client: Client, count: int, task_queue: str) -> Sequence[Run]:
    """Start workflows that stay open; `end` can end those of a task queue later."""

    async def started(_: int) -> Run:
        return (await start(client, task_queue, eagerly=False))[0]

    return await each(started, count)


async def make_closed(client: Client, count: int, *, fails: bool = False) -> Sequence[Run]:
    """Start workflows and complete or fail them.

    Started eagerly: the server returns the first workflow task with its answer.
    """

    async def start_and_end(_: int) -> Run:
        run, token = await start(client, "eager", eagerly=True)
        await respond(client, token, _FAIL if fails else _COMPLETE)
        return run

    return await each(start_and_end, count)


async def end(client: Client, task_queue: str, count: int) -> None:
    """End `count` workflows of a task queue, every fourth as failed, and wait for visibility."""

    async def poll_and_end(number: int) -> None:
        request = PollWorkflowTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue)
        )
        service, token = client.workflow_service, b""
        while not token:  # a poll that times out returns an empty answer
            answer = await service.poll_workflow_task_queue(request, timeout=POLL_TIMEOUT)
            token = answer.task_token
        await respond(client, token, _COMPLETE if number % 4 else _FAIL)

    await each(poll_and_end, count)
    query = f"TaskQueue = '{task_queue}' AND ExecutionStatus = 'Running'"
    count_request = CountWorkflowExecutionsRequest(namespace=client.namespace, query=query)
    # Visibility has no event to wait for.
    while (await client.workflow_service.count_workflow_executions(count_request)).count:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def start(client: Client, task_queue: str, *, eagerly: bool) -> tuple[Run, bytes]:
    """Start a workflow; returns the token of its first task if it was started eagerly."""
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


async def respond(client: Client, token: bytes, *commands: Command) -> None:
    """Complete a workflow task."""
    await client.workflow_service.respond_workflow_task_completed(
        RespondWorkflowTaskCompletedRequest(
            namespace=client.namespace, task_token=token, commands=commands
        )
    )
