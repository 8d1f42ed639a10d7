"""A worker with the plugin, and a workflow with a row."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from reconciler.core.model import Closed, RunRow
from reconciler.worker import ReconcilerPlugin
from reconciler.worker.database import writer
from reconciler.worker.report import ACTIVITY
from tests.conftest import Database
from tests.support.polling import PATIENCE, eventually
from tests.support.temporal.workflows import Scripted, Typed, charge
from tests.support.temporal.world import World


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker, and in the end wait for its plugins, which older SDKs do not."""
    async with worker:
        yield worker
    if (task := worker._async_context_run_task) is not None:
        await asyncio.wait([task])


@dataclass
class Site:
    """An application: its database, its worker, and one workflow with a row."""

    client: Client
    database: Database
    workflow_id: str
    task_queue: str = field(default_factory=lambda: f"site-{uuid4().hex}")

    def __post_init__(self) -> None:
        self.world = World(self.client, self.task_queue, self.workflow_id)

    @asynccontextmanager
    async def worker(
        self, plugin: ReconcilerPlugin | None = None, **options: Any
    ) -> AsyncIterator[Worker]:
        """A worker with the given plugin, by default over this application's engine."""
        plugins = [plugin or ReconcilerPlugin(self.database.engine)]
        async with self.bare_worker(plugins=plugins, **options) as worker:
            yield worker

    @asynccontextmanager
    async def bare_worker(self, **options: Any) -> AsyncIterator[Worker]:
        """A worker without the plugin."""
        given: dict[str, Any] = {
            "task_queue": self.task_queue,
            "workflows": [Scripted, Typed],
            "activities": [charge],
            **options,
        }
        async with running(Worker(self.client, **given)) as worker:
            yield worker

    async def start(
        self, script: str, text: object = "no money", *, workflow: str = "Scripted", **options: Any
    ) -> WorkflowHandle[Any, Any]:
        """Insert a row, start its workflow, and store the run id."""
        row = await self.database.insert(self.workflow_id)
        handle = await self.client.start_workflow(
            workflow,
            args=[script, text],
            **{"id": self.workflow_id, "task_queue": self.task_queue, **options},
        )
        await self.database.execute(
            "UPDATE workflow_executions SET run_id = $1 WHERE id = $2",
            handle.first_execution_run_id,
            row,
        )
        return handle

    async def closed(self, handle: WorkflowHandle[Any, Any]) -> Closed:
        """Wait for the end of the workflow's chain; return Temporal's description of it."""
        row = RunRow(1, handle.id, handle.first_execution_run_id, None)
        await eventually(lambda: self.world.is_over(row))
        observation = await self.world.observe(row)
        assert isinstance(observation, Closed)
        return observation

    async def row(self, workflow_id: str | None = None) -> dict[str, Any]:
        """The only row of the workflow id."""
        rows = await self.rows(workflow_id)
        assert len(rows) == 1
        return rows[0]

    async def rows(self, workflow_id: str | None = None) -> Sequence[dict[str, Any]]:
        return await self.database.fetch(
            "SELECT status, error_message, completed_at FROM workflow_executions"
            " WHERE workflow_id = $1 ORDER BY id",
            workflow_id or self.workflow_id,
        )

    async def outcome(self) -> tuple[str, str | None]:
        """Status and message of the row."""
        row = await self.row()
        return row["status"], row["error_message"]

    async def events(self, run_id: str | None = None) -> Sequence[HistoryEvent]:
        """The history of a run, by default of the last one."""
        handle = self.client.get_workflow_handle(self.workflow_id, run_id=run_id)
        return (await handle.fetch_history()).events

    async def report_events(self, *run_ids: str) -> Sequence[HistoryEvent]:
        """The reports in the histories of these runs, by default of the last one."""
        events = [event for run in run_ids or (None,) for event in await self.events(run)]
        return [
            event
            for event in events
            if event.activity_task_scheduled_event_attributes.activity_type.name == ACTIVITY
        ]

    async def reports(self, *run_ids: str) -> int:
        """How many reports these runs made."""
        return len(await self.report_events(*run_ids))


@pytest.fixture
async def site(temporal: Client, database: Database, workflow_id: str) -> AsyncIterator[Site]:
    site = Site(temporal, database, workflow_id)
    yield site
    with contextlib.suppress(RPCError):
        await temporal.get_workflow_handle(workflow_id).terminate("end of test")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a write wait for as long as the test locks its row."""
    monkeypatch.setattr(writer, "LOCK_TIMEOUT", 1000 * PATIENCE)


@dataclass(frozen=True)
class Locked:
    """A lock on all rows."""

    connection: asyncpg.Connection

    async def release(self) -> None:
        await self.connection.close()


@asynccontextmanager
async def locked_rows(database: Database) -> AsyncIterator[Locked]:
    """Lock every row, so that a write has to wait.

    Enter it before a worker that would write immediately, and release it before the worker stops.
    """
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute("BEGIN; SELECT FROM workflow_executions FOR UPDATE")
        yield Locked(connection)
    finally:
        await connection.close()


async def waiting(site: Site) -> bool:
    """Whether a write waits for a lock."""
    rows = await site.database.fetch(
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(rows)
