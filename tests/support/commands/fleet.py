"""Distributed backfills: `reconciler worker` in processes of its own, and the workflow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle

from reconciler.app.wiring import open_app
from reconciler.core.window import EVERY
from reconciler.fleet.messages import (
    PROGRESS,
    WORKFLOW,
    Backfill,
    FleetProgress,
    Previewed,
    Result,
    Speed,
    State,
)
from reconciler.fleet.previewed import preview
from reconciler.settings.model import Settings
from tests.support.commands.command import Command
from tests.support.commands.daemon import Daemon, running
from tests.support.commands.stage import Stage

#: Small ranges, without a limit.
SPEED = Speed(2, 0, 0, batch_size=50, concurrency=4, range_rows=100, ranges_per_run=5)

#: For tests of workers that disappear: a fraction of the true limits.
HURRIED = {
    "reconciler.fleet.tasks.HEARTBEAT_TIMEOUT": 5,
    "reconciler.fleet.steps.BEAT_EVERY": 0.3,
    "reconciler.fleet.process.HEARTBEATS_APART": 0.3,
}


@dataclass
class Fleet:
    """Workers of one task queue, and the backfills that they work on."""

    stage: Stage
    command: Command
    #: Settings, as `Settings` takes them.
    settings: Mapping[str, Any] = field(default_factory=dict)
    task_queue: str = field(default_factory=lambda: f"fleet-{uuid4().hex}")

    @asynccontextmanager
    async def worker(self, *arguments: str, **variables: str) -> AsyncIterator[Daemon]:
        """A worker that has started."""
        async with self.launched(*arguments, **variables) as worker:
            await worker.said("worker_started")
            yield worker

    @asynccontextmanager
    async def launched(self, *arguments: str, **variables: str) -> AsyncIterator[Daemon]:
        """A worker that may not have connected yet."""
        environment = {
            "RECONCILER_TASK_QUEUE": self.task_queue,
            "RECONCILER_LOG_FORMAT": "json",
            **{f"RECONCILER_{k.upper()}": str(v) for k, v in self.settings.items()},
            **variables,
        }
        async with running(self.command, "worker", *arguments, **environment) as worker:
            yield worker

    async def previewed(self) -> Previewed:
        """What the command would preview."""
        settings = Settings(database_url=self.stage.database.url, **self.settings)
        client = self.client
        temporal = {
            "target_host": client.service_client.config.target_host,
            "namespace": client.namespace,
        }
        async with open_app(settings, writing=True, temporal=temporal) as app:
            return await preview(app, EVERY)

    async def start(
        self,
        speed: Speed = SPEED,
        *,
        dry_run: bool = False,
        state: State | None = None,
        **changed: Any,
    ) -> WorkflowHandle[Any, Result]:
        """Start a backfill; `changed`: of what was previewed."""
        previewed = replace(await self.previewed(), **changed)
        backfill = Backfill(previewed, speed, dry_run, asked={"test": True}, state=state)
        return await self.client.start_workflow(
            WORKFLOW,
            backfill,
            id=f"{self.stage.prefix}/backfill",
            task_queue=self.task_queue,
            result_type=Result,
        )

    async def progress(self, handle: WorkflowHandle[Any, Result]) -> FleetProgress:
        progress: FleetProgress = await handle.query(PROGRESS, result_type=FleetProgress)
        return progress

    @property
    def client(self) -> Client:
        return self.stage.client
