"""What a feed is compared with: the same lists by raw calls, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client

#: Seconds from one poll to the next, and the statuses that each of them lists.
EVERY = 1.0
STATUSES = ("Completed", "Failed", "Canceled", "Terminated", "TimedOut")
#: More than close within a poll.
_PAGE = 50


@asynccontextmanager
async def bare_lists(client: Client) -> AsyncIterator[dict[str, float]]:
    """List what has closed every second; the seconds until each workflow's last end was shown.

    By workflow id, filled in until the end of the context.
    """
    seconds: dict[str, float] = {}
    following = asyncio.create_task(_follow(client, seconds))
    try:
        yield seconds
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _follow(client: Client, seconds: dict[str, float]) -> None:
    ends: dict[str, int] = {}

    async def take(status: str) -> None:
        request = ListWorkflowExecutionsRequest(
            namespace=client.namespace, page_size=_PAGE, query=f"ExecutionStatus = '{status}'"
        )
        answer = await client.workflow_service.list_workflow_executions(request)
        now = time.time_ns()
        for info in answer.executions:
            workflow_id, closed_at = info.execution.workflow_id, info.close_time.ToNanoseconds()
            if closed_at > ends.get(workflow_id, 0):  # a chain of runs ends several times
                ends[workflow_id], seconds[workflow_id] = closed_at, (now - closed_at) / 1e9

    while True:
        began = time.monotonic()
        await asyncio.gather(*map(take, STATUSES))
        await asyncio.sleep(max(began + EVERY - time.monotonic(), 0))
