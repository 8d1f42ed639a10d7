"""Rows for a backfill: stale ones of closed, open and unknown workflows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle

from tests.conftest import Database
from tests.support.temporal.world import World

#: Ages of rows: beyond the default namespace's retention, and within it.
OLD = timedelta(days=400)
RECENT = timedelta(hours=1)


@dataclass
class Stage:
    """An application that starts workflows, and never records their ends."""

    database: Database
    client: Client
    prefix: str
    handles: list[WorkflowHandle[object, object]] = field(default_factory=list)

    async def start(self, name: str) -> WorkflowHandle[object, object]:
        """Start a workflow that has no worker; it can still be terminated."""
        handle = await self.client.start_workflow(
            "Scripted", args=["wait", ""], id=f"{self.prefix}/{name}", task_queue="nobody"
        )
        self.handles.append(handle)
        return handle

    async def closed(self, name: str = "closed") -> WorkflowHandle[object, object]:
        handle = await self.start(name)
        await handle.terminate("ticket 42")
        return handle

    async def deleted(self, name: str = "deleted") -> WorkflowHandle[object, object]:
        handle = await self.closed(name)
        world = World(self.client, "nobody", handle.id)
        assert handle.first_execution_run_id is not None
        await world.delete(handle.first_execution_run_id)
        return handle

    async def insert(
        self, handle: WorkflowHandle[object, object], count: int = 1, age: timedelta = RECENT
    ) -> None:
        await self._insert(handle.id, handle.first_execution_run_id, count, age)

    async def insert_missing(
        self, count: int = 1, age: timedelta = OLD, *, started: bool = True
    ) -> None:
        """Insert rows of a workflow that Temporal does not know."""
        run_id = str(uuid4()) if started else None
        await self._insert(f"{self.prefix}/missing", run_id, count, age)

    async def _insert(
        self, workflow_id: str, run_id: str | None, count: int, age: timedelta
    ) -> None:
        await self.database.execute(
            "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
            " SELECT $1, $2, $3 FROM generate_series(1, $4)",
            workflow_id,
            run_id,
            datetime.now(UTC) - age,
            count,
        )

    async def statuses(self) -> Counter[str]:
        rows = await self.database.fetch("SELECT status FROM workflow_executions")
        return Counter(str(row["status"]) for row in rows)

    async def journalled(self) -> int:
        """The number of rows in the journal; fails if one of them is there twice."""
        rows = await self.database.fetch("SELECT row_id FROM reconciler.changes")
        assert len({row["row_id"] for row in rows}) == len(rows)
        return len(rows)

    async def passes(self) -> list[dict[str, object]]:
        return await self.database.fetch("SELECT * FROM reconciler.passes ORDER BY started_at")

    async def contents(self) -> object:
        """All rows of every table, each with the transaction that wrote it."""
        tables = ("workflow_executions", *(f"reconciler.{t}" for t in ("passes", "changes")))
        return [
            await self.database.fetch(f"SELECT xmin::text, t::text FROM {t} t ORDER BY t.id")
            for t in tables
        ]

    async def end(self) -> None:
        for handle in self.handles:
            try:
                await handle.terminate()
            except Exception:  # noqa: BLE001, S112 - closed or deleted by the test
                continue
