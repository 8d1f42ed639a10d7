"""What `reconciler run` lives through: every way in which either server, or the network, goes away.

Real servers that are killed or stopped, and a network that cuts, refuses and swallows. Each outage
comes in the middle of a pass; afterwards every row is right and was written once.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from temporalio.client import Client

from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from reconciler.temporal.client.runtime import quiet_runtime
from tests.support.commands.command import Command
from tests.support.commands.daemon import HURRIED, Daemon, daemon
from tests.support.network.proxy import Proxy, proxy
from tests.support.polling import eventually
from tests.support.servers.restartable import (
    RestartablePostgres,
    RestartableTemporal,
    restartable_postgres,
    restartable_temporal,
)

pytestmark = pytest.mark.long

ROWS = 40
#: Asked about so slowly, in calls per second, an outage comes in the middle of a pass.
SLOWLY = "30"
#: Connections of the whole process: what it pools, and what it has just given up.
CONNECTIONS = 8


@dataclass
class Stage:
    """Both servers, and the network between them and the daemon."""

    postgres: RestartablePostgres
    temporal: RestartableTemporal
    to_postgres: Proxy
    to_temporal: Proxy

    def command(self, folder: Path, limits: Mapping[str, float] = HURRIED) -> Command:
        url = self.postgres.url.replace(f":{self.postgres.port}/", f":{self.to_postgres.port}/")
        address = f"127.0.0.1:{self.to_temporal.port}"
        return Command({"DATABASE_URL": url, "TEMPORAL_ADDRESS": address}, folder, limits=limits)

    async def fetch(self, sql: str, *arguments: object) -> list[dict[str, object]]:
        connection = await asyncpg.connect(self.postgres.url)
        try:
            return [dict(record) for record in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    async def insert_closed(self, rows: int = ROWS) -> str:
        """Rows of a workflow that has been terminated; its id."""
        client = await Client.connect(self.temporal.address, runtime=quiet_runtime())
        handle = await client.start_workflow("Any", id=f"wf-{uuid4()}", task_queue="none")
        await handle.terminate(reason="ticket 42")
        await self.fetch(
            "INSERT INTO workflow_executions (workflow_id, run_id)"
            " SELECT $1, $2 FROM generate_series(1, $3)",
            handle.id,
            handle.first_execution_run_id,
            rows,
        )
        return handle.id

    async def has_few_connections(self) -> bool:
        """The server notices a moment later that one has been given up."""
        ours = "SELECT FROM pg_stat_activity WHERE application_name = 'reconciler'"
        return len(await self.fetch(ours)) <= CONNECTIONS

    async def written(self, workflow_id: str) -> int:
        rows = await self.fetch(
            "SELECT FROM workflow_executions WHERE workflow_id = $1 AND status = 'failed'"
            " AND error_message LIKE 'terminated by %: ticket 42'",
            workflow_id,
        )
        return len(rows)


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Stage]:
    async with restartable_postgres() as postgres, restartable_temporal() as temporal:
        await migrate(postgres.url, TableMapping())
        async with (
            proxy("127.0.0.1", postgres.port) as to_postgres,
            proxy("127.0.0.1", temporal.port) as to_temporal,
        ):
            yield Stage(postgres, temporal, to_postgres, to_temporal)


@pytest.fixture
async def stage(servers: Stage) -> Stage:
    """Without the lease of the test before, which may have been killed with it."""
    await servers.fetch("DELETE FROM reconciler.lease")
    return servers


async def at_once(action: Callable[[], None]) -> None:
    action()


@dataclass(frozen=True)
class Outage:
    begin: Callable[[Stage], Awaitable[None]]
    end: Callable[[Stage], Awaitable[None]]
    #: Connections that were dropped at rest are replaced without a word.
    noticed: bool = True


OUTAGES = {
    "PostgreSQL is killed": Outage(lambda s: s.postgres.kill(), lambda s: s.postgres.start()),
    "PostgreSQL restarts": Outage(lambda s: s.postgres.stop(), lambda s: s.postgres.start()),
    "PostgreSQL stands still": Outage(
        lambda s: at_once(s.postgres.pause), lambda s: at_once(s.postgres.resume)
    ),
    "Temporal is killed": Outage(lambda s: s.temporal.kill(), lambda s: s.temporal.start()),
    "Temporal stands still": Outage(
        lambda s: at_once(s.temporal.pause), lambda s: at_once(s.temporal.resume)
    ),
    "a pooler drops connections": Outage(
        lambda s: at_once(s.to_postgres.cut), lambda s: at_once(s.to_postgres.cut), noticed=False
    ),
    "PostgreSQL is unreachable": Outage(
        lambda s: at_once(s.to_postgres.refuse), lambda s: at_once(s.to_postgres.heal)
    ),
    "PostgreSQL is in a black hole": Outage(
        lambda s: at_once(s.to_postgres.blackhole), lambda s: at_once(s.to_postgres.heal)
    ),
    "Temporal is unreachable": Outage(
        lambda s: at_once(s.to_temporal.refuse), lambda s: at_once(s.to_temporal.heal)
    ),
    "Temporal is in a black hole": Outage(
        lambda s: at_once(s.to_temporal.blackhole), lambda s: at_once(s.to_temporal.heal)
    ),
    "both are killed": Outage(
        lambda s: both(s.postgres.kill, s.temporal.kill),
        lambda s: both(s.postgres.start, s.temporal.start),
    ),
}


async def both(*actions: Callable[[], Awaitable[None]]) -> None:
    for action in actions:
        await action()


#: To a client as one of the others: tried by `make test-soak`.
AS_ANOTHER = {
    "PostgreSQL stands still",
    "Temporal stands still",
    "PostgreSQL is unreachable",
    "Temporal is unreachable",
    "both are killed",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.soak) if name in AS_ANOTHER else name
        for name in OUTAGES
    ],
)
async def test_an_outage(stage: Stage, tmp_path: Path, name: str) -> None:
    outage = OUTAGES[name]
    async with daemon(stage.command(tmp_path), RECONCILER_MAX_RPS=SLOWLY) as running:
        await eventually(running.holds)
        workflow_id = await asked_about_some(stage, running)
        await outage.begin(stage)
        try:
            if outage.noticed:
                await eventually(lambda: noticed(running))
            alive = await running.get("/livez")
        finally:
            await outage.end(stage)
        later = await stage.insert_closed(1)

        async def all_written() -> bool:
            return [await stage.written(each) for each in (workflow_id, later)] == [ROWS, 1]

        await eventually(all_written)
        await eventually(running.ready)
        await eventually(stage.has_few_connections)
        assert await running.stop() == 0

    assert alive.status_code == 200, "being cut off is no reason to be killed"
    assert all("timestamp" in line for line in running.lines), "every library logs through ours"
    journalled = await stage.fetch(
        "SELECT count(*) AS changes, count(DISTINCT row_id) AS rows FROM reconciler.changes"
        " WHERE workflow_id = ANY ($1)",
        [workflow_id, later],
    )
    assert journalled == [{"changes": ROWS + 1, "rows": ROWS + 1}]


async def test_a_slow_network(stage: Stage, tmp_path: Path) -> None:
    """Too slow for limits that are cut short."""
    async with daemon(stage.command(tmp_path, {})) as running:
        await eventually(running.holds)
        stage.to_postgres.delay(0.1)
        stage.to_temporal.delay(0.1)
        try:
            workflow_id = await stage.insert_closed(20)

            async def all_written() -> bool:
                return await stage.written(workflow_id) == 20

            await eventually(all_written)
        finally:
            stage.to_postgres.heal()
            stage.to_temporal.heal()
    assert running.logged("pass_failed") == []


async def asked_about_some(stage: Stage, running: Daemon) -> str:
    """Insert rows, and wait until a pass has asked about some of them; their workflow's id."""

    async def asked() -> float:
        return await running.metric("reconciler_rpcs_total", method="describe", code="OK") or 0

    before = await asked()
    workflow_id = await stage.insert_closed()

    async def more() -> bool:
        return await asked() > before

    await eventually(more)
    return workflow_id


async def noticed(running: Daemon) -> bool:
    return bool(running.logged("pass_failed") or running.logged("lease_claim_failed"))


async def test_a_statement_that_takes_too_long(stage: Stage, tmp_path: Path) -> None:
    """Even without a row in it. The pass fails: it is recorded, and the heartbeat stays."""
    heartbeat = "SELECT max(finished_at) AS at FROM reconciler.passes WHERE outcome = 'ok'"
    async with daemon(stage.command(tmp_path)) as running:
        await eventually(running.holds)
        await stage.fetch(
            "CREATE FUNCTION too_long() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE 'canceling statement due to statement timeout' USING ERRCODE = '57014';"
            " END $$"
        )
        await stage.fetch(
            "CREATE TRIGGER too_long BEFORE UPDATE ON workflow_executions"
            " FOR EACH STATEMENT EXECUTE FUNCTION too_long()"
        )
        try:
            workflow_id = await stage.insert_closed()
            line = await running.said("pass_failed", failures=2)
            good = await running.metric("reconciler_last_good_pass_timestamp_seconds")
            (before,) = await stage.fetch(heartbeat)
            (last,) = await stage.fetch(
                "SELECT outcome, error FROM reconciler.passes WHERE outcome IS NOT NULL"
                " ORDER BY finished_at DESC LIMIT 1"
            )
        finally:
            await stage.fetch("DROP FUNCTION too_long CASCADE")

        async def all_written() -> bool:
            return await stage.written(workflow_id) == ROWS

        await eventually(all_written)

    assert "statement timeout" in line["error"]
    assert (last["outcome"], last["error"]) == ("aborted", line["error"])
    assert good == pytest.approx(before["at"].timestamp(), abs=0.001)  # type: ignore[attr-defined]


async def test_a_replica_that_is_cut_off_lets_another_one_pass(
    stage: Stage, tmp_path: Path
) -> None:
    well_placed = Command(
        {"DATABASE_URL": stage.postgres.url, "TEMPORAL_ADDRESS": stage.temporal.address},
        tmp_path,
        limits=HURRIED,
    )
    async with daemon(stage.command(tmp_path)) as first:
        await eventually(first.holds)
        async with daemon(well_placed) as second:
            await eventually(second.ready)
            stage.to_temporal.refuse()
            try:
                workflow_id = await stage.insert_closed()
                await second.said("row_finished", workflow_id=workflow_id)
                assert not await first.ready()
            finally:
                stage.to_temporal.heal()

            await eventually(first.stands_by)


@pytest.mark.parametrize("silent", ["postgres", "temporal"])
async def test_asked_to_stop_while_a_server_is_silent(
    stage: Stage, tmp_path: Path, silent: str
) -> None:
    server: RestartablePostgres | RestartableTemporal = getattr(stage, silent)
    async with daemon(stage.command(tmp_path), RECONCILER_MAX_RPS=SLOWLY) as running:
        await eventually(running.holds)
        workflow_id = await asked_about_some(stage, running)
        server.pause()
        try:
            running.send(signal.SIGTERM)

            assert await running.ended() == 0
        finally:
            server.resume()

    async with daemon(stage.command(tmp_path)):

        async def all_written() -> bool:
            return await stage.written(workflow_id) == ROWS

        await eventually(all_written)
