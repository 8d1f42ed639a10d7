"""Makes open workflows, healthy and stuck, without a worker: raw calls answer their tasks."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    Command,
    ScheduleActivityTaskCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, RetryPolicy, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskFailedRequest,
)
from temporalio.client import Client

from benchmarks.workflows import POLL_TIMEOUT, Run, each, make_open, respond, start

#: Task queues without a worker, over which the workflows that wait for one are spread.
QUEUES = 50
_FAILURE = Failure(
    message="zone limit is 50",
    application_failure_info=ApplicationFailureInfo(type="QuotaExceeded"),
)


async def make_waiting(client: Client, count: int) -> Sequence[Run]:
    """Workflows whose first task is done, and that wait for a signal."""
    return await _with_commands(client, count)


async def make_unworked(client: Client, count: int) -> Sequence[Run]:
    """Workflows whose first task no worker takes, on some queues."""
    made: list[Run] = []
    for number in range(QUEUES):
        made += await make_open(client, count // QUEUES, f"nobody-{number}")
    return made


async def make_retrying(client: Client, count: int) -> Sequence[Run]:
    """Workflows with an activity that has failed once, and is due again in an hour."""
    queue = TaskQueue(name="activities")
    made = await _with_commands(
        client,
        count,
        Command(
            command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
            schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
                activity_id="1",
                activity_type=ActivityType(name="create_zone"),
                task_queue=queue,
                start_to_close_timeout=Duration(seconds=60),
                retry_policy=RetryPolicy(initial_interval=Duration(seconds=3600)),
            ),
        ),
    )

    async def fail(_: int) -> None:
        request = PollActivityTaskQueueRequest(namespace=client.namespace, task_queue=queue)
        service, token = client.workflow_service, b""
        while not token:  # a poll that times out returns an empty answer
            answer = await service.poll_activity_task_queue(request, timeout=POLL_TIMEOUT)
            token = answer.task_token
        await service.respond_activity_task_failed(
            RespondActivityTaskFailedRequest(
                namespace=client.namespace, task_token=token, failure=_FAILURE
            )
        )

    await each(fail, count)
    return made


async def make_failing(client: Client, count: int) -> Sequence[Run]:
    """Workflows whose first task has failed twice, and is due again soon."""
    queue, service = "failing", client.workflow_service

    async def fail(token: bytes) -> None:
        await service.respond_workflow_task_failed(
            RespondWorkflowTaskFailedRequest(
                namespace=client.namespace, task_token=token, failure=_FAILURE
            )
        )

    async def start_and_fail(_: int) -> Run:
        run, token = await start(client, queue, eagerly=True)
        await fail(token)
        return run

    async def fail_again(_: int) -> None:
        request = PollWorkflowTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue)
        )
        token = b""
        while not token:
            answer = await service.poll_workflow_task_queue(request, timeout=POLL_TIMEOUT)
            token = answer.task_token
        await fail(token)

    made = await each(start_and_fail, count)
    await each(fail_again, count)
    return made


async def make_parents(client: Client, count: int) -> Sequence[Run]:
    """Workflows that wait for a child, which waits for a worker."""

    async def parent(number: int) -> Run:
        run, token = await start(client, "parents", eagerly=True)
        child = StartChildWorkflowExecutionCommandAttributes(
            workflow_id=f"{run.workflow_id}/child",
            workflow_type=WorkflowType(name="Child"),
            task_queue=TaskQueue(name=f"nobody-{number % QUEUES}"),
        )
        command = Command(
            command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
            start_child_workflow_execution_command_attributes=child,
        )
        await respond(client, token, command)
        return run

    return await each(parent, count)


async def _with_commands(client: Client, count: int, *commands: Command) -> Sequence[Run]:
    async def start_and_respond(_: int) -> Run:
        run, token = await start(client, "eager", eagerly=True)
        await respond(client, token, *commands)
        return run

    return await each(start_and_respond, count)
