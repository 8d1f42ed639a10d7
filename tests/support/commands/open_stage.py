"""Workflows that stay open, each with a row, for tests of what is stuck."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle

from tests.conftest import Database
from tests.support.polling import eventually

#: Longer than any test.
DELAY = timedelta(hours=1)


@dataclass
class OpenStage:
    """Workflows that stay open, with their rows."""

    database: Database
    client: Client
    queue: str
    name: str
    handles: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    async def start(self, script: str, text: str = "", **options: Any) -> WorkflowHandle[Any, Any]:
        handle = await self.client.start_workflow(
            "Scripted",
            args=[script, text],
            id=f"{self.name}-{len(self.handles)}",
            task_queue=self.queue,
            **options,
        )
        self.handles.append(handle)
        await self.database.insert(handle.id, handle.first_execution_run_id)
        return handle

    async def retrying(self, text: str) -> WorkflowHandle[Any, Any]:
        """A workflow whose activity has failed twice."""
        handle = await self.start("retry an activity", text)

        async def retries() -> bool:
            described = await handle.describe()
            return any(each.attempt > 2 for each in described.raw_description.pending_activities)

        await eventually(retries)
        return handle

    async def end(self) -> None:
        """Terminate those that are still open."""
        for handle in self.handles:
            if (await handle.describe()).close_time is None:
                await handle.terminate("end of test")
