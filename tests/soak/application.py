"""The soak's application: starts workflows, keeps rows, and finishes some of the rows itself.

It retries what fails because a server is unreachable, as an application would. So a workflow may
have no row, or two.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import asyncpg
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from tests.support.temporal.world import World

#: How workflows end, with weights.
FATES = {"complete": 4, "fail": 3, "time out": 2, "be terminated": 3, "wait": 1}
#: The share of completed workflows whose row the application finishes itself (the main path).
OWN_SHARE = 0.3
OWN_MARK = "written by the application"
#: Seconds between workflow starts.
PACE = 0.1

_RETRIED = (
    *(RPCError, WorkflowAlreadyStartedError, RuntimeError, OSError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError),
)
_T = TypeVar("_T")


@dataclass
class Application:
    """Starts workflows on these servers."""

    url: str
    client: Client
    task_queue: str
    random: random.Random

    async def run(self) -> None:
        """Start one workflow after another, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._workflow())
                await asyncio.sleep(PACE)

    async def _workflow(self) -> None:
        fate = self.random.choices([*FATES], [*FATES.values()])[0]
        world = World(self.client, self.task_queue, f"{fate.replace(' ', '-')}-{uuid4()}")
        script = fate if fate in {"complete", "fail"} else "wait"
        limit = timedelta(seconds=2) if fate == "time out" else None
        started = await retry(lambda: world.start(script, "no money", execution_timeout=limit))
        if started is None:  # it was started, but the response was lost
            return
        handle, run_id = started, str(started.first_execution_run_id)
        insert = "INSERT INTO workflow_executions (workflow_id, run_id) VALUES ($1, $2)"
        await retry(lambda: self._execute(insert, world.workflow_id, run_id))
        if fate == "be terminated":
            await retry(lambda: handle.terminate(reason="ticket 42"))
        if fate == "complete" and self.random.random() < OWN_SHARE:
            finish = (
                "UPDATE workflow_executions SET status = 'completed', completed_at = now(),"
                " error_message = $2 WHERE workflow_id = $1 AND status = 'running'"
            )
            await retry(lambda: self._execute(finish, world.workflow_id, OWN_MARK))

    async def _execute(self, sql: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            await connection.execute(sql, *arguments, timeout=5)
        finally:
            connection.terminate()


async def retry(action: Callable[[], Awaitable[_T]]) -> _T | None:
    """Retry until it works; None if an earlier attempt turns out to have worked."""
    while True:
        try:
            async with asyncio.timeout(10):
                return await action()
        except (*_RETRIED, TimeoutError) as error:
            if "already" in str(error).lower():
                return None
            await asyncio.sleep(0.5)
