"""`reconciler run` with its feed, beside an application that never records an end itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from reconciler.core.model import Closed
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.probe import TemporalProbe
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import Daemon, daemon
from tests.support.network.visibility import LIST, Visibility
from tests.support.passes.truth import as_row, assert_finished, assert_untouched, by_row
from tests.support.polling import eventually
from tests.support.temporal.world import World

#: Polls as fast as possible; the sweep does next to nothing.
FEED_ALONE = {
    "RECONCILER_FEED_INTERVAL": "1s",
    "RECONCILER_INTERVAL": "1d",
    "RECONCILER_FULL_SWEEP_INTERVAL": "365d",
    "RECONCILER_MAX_RPS": "0",
}
STATUSES = ("Terminated", "TimedOut", "Failed", "Canceled", "Completed")
LISTS = {f"ExecutionStatus = '{status}'" for status in STATUSES}


@dataclass
class Scene:
    """Workflows with rows; their ids begin with `prefix`."""

    database: Database
    client: Client
    task_queue: str
    prefix: str
    seen: Visibility
    command: Command
    handles: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    def world(self, name: str) -> World:
        """A workflow id of its own, on the same worker."""
        return World(self.client, self.task_queue, f"{self.prefix}/{name}")

    async def start(
        self, name: str, script: str = "wait", **options: Any
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow, without a row."""
        handle = await self.world(name).start(script, "no money", **options)
        self.handles.append(handle)
        return handle

    async def insert(self, handle: WorkflowHandle[Any, Any]) -> int:
        return await self.database.insert(handle.id, handle.first_execution_run_id)

    async def start_with_row(
        self, name: str, script: str = "wait", **options: Any
    ) -> WorkflowHandle[Any, Any]:
        handle = await self.start(name, script, **options)
        await self.insert(handle)
        return handle

    async def end_all(self) -> None:
        """Terminate what is still open."""
        for handle in self.handles:
            with suppress(RPCError):
                await self.client.get_workflow_handle(handle.id).terminate("end")

    @asynccontextmanager
    async def following(self, **variables: str) -> AsyncIterator[Daemon]:
        """A loop that has made its first pass, after which the feed alone finds rows."""
        before = len(await self.passes("run"))
        async with self.replica(**variables) as running:
            await self.passed(before + 1)
            yield running

    async def passed(self, count: int) -> None:
        """Wait until this many passes of the loop have come to their end."""

        async def passed() -> bool:
            return len(await self.passes("run")) >= count

        await eventually(passed)

    def replica(self, **variables: str) -> AbstractAsyncContextManager[Daemon]:
        """A loop that may be on standby."""
        return daemon(self.command, **{**FEED_ALONE, **variables})

    async def has_marks(self) -> bool:
        """Whether the feed alone is relied upon: only then are its marks saved."""
        return bool(await self.database.fetch("SELECT FROM reconciler.closings"))

    async def lists(self, count: int) -> None:
        """Wait until this many more list calls have been made."""
        until = self.seen.calls[LIST] + count

        async def listed() -> bool:
            return self.seen.calls[LIST] >= until

        await eventually(listed)

    async def polls(self, count: int = 1) -> None:
        """Wait until the feed has begun and ended this many more polls."""
        before = Counter(self.seen.queries)

        async def polled() -> bool:
            return all(self.seen.queries[each] - before[each] > count for each in LISTS)

        await eventually(polled)

    @asynccontextmanager
    async def traffic(self, pause: float = 0.05) -> AsyncIterator[None]:
        """Start workflows all the time, and let them close in some way or other."""

        async def run() -> None:
            for number in count():
                script = ("wait", "fail", "complete", "wait")[number % 4]
                handle = await self.start_with_row(f"traffic {number}", script)
                if script == "wait":
                    await handle.terminate()
                await asyncio.sleep(pause)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def settled(self) -> None:
        """End all workflows, and wait until all rows are written."""
        async with self.following():
            await self.end_all()
            await eventually(self.finished())

    async def open_rows(self) -> int:
        return len(await self.rows("status = 'running'"))

    async def rows(self, where: str = "true") -> list[dict[str, Any]]:
        return await self.database.fetch(
            f"SELECT * FROM workflow_executions WHERE {where} ORDER BY id"
        )

    async def changes(self) -> list[dict[str, Any]]:
        return await self.database.fetch("SELECT * FROM reconciler.changes")

    async def passes(self, mode: str) -> list[dict[str, Any]]:
        """Those that came to their end."""
        return await self.database.fetch(
            "SELECT * FROM reconciler.passes WHERE mode = $1 AND outcome = 'ok'", mode
        )

    async def all_passes(self) -> list[dict[str, Any]]:
        return await self.database.fetch("SELECT * FROM reconciler.passes ORDER BY id")

    async def queries(self) -> list[dict[str, Any]]:
        """When each connection of reconciler's began and ended its last query."""
        return await self.database.fetch(
            "SELECT pid, query_start, state_change FROM pg_stat_activity"
            " WHERE application_name = 'reconciler' AND datname = current_database() ORDER BY pid"
        )

    async def found_by(self) -> Counter[str]:
        """Written rows, by how they were found."""
        return Counter(change["found_by"] for change in await self.changes())

    def finished(self, *handles: WorkflowHandle[Any, Any]) -> Callable[[], Awaitable[bool]]:
        """Whether the rows of these workflows are written; without any, all rows."""

        async def finished() -> bool:
            ids = [handle.id for handle in handles]
            left = await self.rows("status = 'running'")
            return not any(not ids or row["workflow_id"] in ids for row in left)

        return finished

    async def verify(self) -> None:
        """Every row is as Temporal says, nothing was written twice."""
        truth = TemporalProbe(Rpc(self.client, RateLimiter(0)))
        journal = by_row(await self.changes())
        for row in await self.rows():
            observed = await truth.observe(as_row(row))
            if isinstance(observed, Closed):
                assert_finished(row, observed, journal)
            else:
                assert_untouched(row, journal)

    async def values(self, table: str = "workflow_executions") -> list[dict[str, Any]]:
        """What was written."""
        return await self.database.fetch(
            f"SELECT id, status, completed_at, error_message FROM {table} ORDER BY id"
        )

    async def passed_again(self) -> list[dict[str, Any]]:
        """What `reconciler once` writes into the same rows."""
        await self.database.execute(
            "CREATE TABLE again (LIKE workflow_executions INCLUDING ALL);"
            "INSERT INTO again (id, workflow_id, run_id, created_at)"
            " OVERRIDING SYSTEM VALUE"
            " SELECT id, workflow_id, run_id, created_at FROM workflow_executions"
        )
        result = await self.command("once", RECONCILER_TABLE="again", RECONCILER_GRACE="0")
        assert result.code == 0, result.err
        return await self.values("again")
