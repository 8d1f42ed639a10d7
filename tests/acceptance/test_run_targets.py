"""`reconciler run` with several targets: whatever is wrong with one, the others do not notice."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from tests.conftest import Database, opened
from tests.support.commands.command import Command
from tests.support.commands.daemon import HURRIED, Daemon, daemon
from tests.support.network.proxy import Proxy, proxy
from tests.support.polling import eventually
from tests.support.servers.restartable import restartable_postgres
from tests.support.temporal.world import World

ORDERS, EXPORTS = "orders", "exports"


@dataclass
class Targets:
    """The targets of a `reconciler.toml`, each a table with rows of closed workflows."""

    command: Command
    world: World
    tables: dict[str, tuple[Database, str]] = field(default_factory=dict)

    def add(
        self, name: str, database: Database, table: str = "workflow_executions", **more: str
    ) -> None:
        """Add a section."""
        self.tables[name] = database, table
        section = {"database_url": database.url, "table": table, **more}
        lines = [f"[targets.{name}]", *(f'{key} = "{value}"' for key, value in section.items())]
        with (self.command.folder / "reconciler.toml").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def run(self, *arguments: str) -> AbstractAsyncContextManager[Daemon]:
        return daemon(self.command, *arguments)

    async def insert(self, name: str) -> int:
        """The row of a workflow that has failed."""
        handle = await self.world.start("fail", id=f"{self.world.workflow_id}-{name}-{uuid4()}")
        row = await self.world.ended(handle)
        database, table = self.tables[name]
        (found,) = await database.fetch(
            f"INSERT INTO {table} (workflow_id, run_id) VALUES ($1, $2) RETURNING id",
            row.workflow_id,
            row.run_id,
        )
        return int(str(found["id"]))

    async def is_repaired(self, name: str, id_: int) -> bool:
        database, table = self.tables[name]
        (row,) = await database.fetch(f"SELECT status FROM {table} WHERE id = $1", id_)
        return row["status"] == "failed"

    async def repairs(self, *names: str) -> None:
        """Wait until a row of each of these is repaired."""
        rows = [(name, await self.insert(name)) for name in names]
        for name, id_ in rows:
            await eventually(partial(self.is_repaired, name, id_))


@pytest.fixture
def targets(reconciler: Command, temporal_address: str, world: World) -> Targets:
    command = replace(
        reconciler,
        environment={"TEMPORAL_ADDRESS": temporal_address},
        limits={**HURRIED, "reconciler.daemon.schedule.LAST_RETRY": 0.5},
    )
    return Targets(command, world)


@pytest.fixture
async def other(database: Database) -> str:
    """A second table of the database."""
    await database.execute("CREATE TABLE exports (LIKE workflow_executions INCLUDING ALL)")
    return "exports"


@pytest.fixture
async def hang_up(temporal_address: str) -> AsyncIterator[Proxy]:
    """A way to Temporal that can hang."""
    host, port = temporal_address.split(":")
    async with proxy(host, int(port)) as between:
        yield between


async def of(running: Daemon, name: str) -> dict[str, Any]:
    """What `/readyz` says about a target, whose status agrees with it."""
    answer = await running.get(f"/readyz?target={name}")
    found: dict[str, Any] = answer.json()
    assert (answer.status_code == 200) is found["ready"]
    return found


async def is_ready(running: Daemon, *names: str) -> bool:
    return all([(await of(running, name))["ready"] for name in names])


async def has_role(running: Daemon, role: str, *names: str) -> bool:
    return all([(await of(running, name))["role"] == role for name in names])


@pytest.mark.long
async def test_a_database_that_stops_and_starts_again(targets: Targets, database: Database) -> None:
    async with restartable_postgres() as postgres:
        await migrate(postgres.url, TableMapping())
        targets.add(ORDERS, database)
        async with opened(postgres.url) as exports:
            targets.add(EXPORTS, exports)
            async with targets.run() as running:
                await targets.repairs(ORDERS, EXPORTS)
                await eventually(running.ready)

                await exports.pool.expire_connections()
                await postgres.kill()
                await running.said("lease_claim_failed", target=EXPORTS)
                await targets.repairs(ORDERS)
                assert await is_ready(running, ORDERS)
                assert not await running.ready()
                assert not await is_ready(running, EXPORTS)
                assert (await running.get("/livez")).status_code == 200

                await postgres.start()
                await targets.repairs(EXPORTS, ORDERS)
                await eventually(running.ready)

    assert running.logged("lease_claim_failed", target=ORDERS) == []


async def test_two_tables_of_one_database_have_leases_of_their_own(
    targets: Targets, database: Database, other: str
) -> None:
    targets.add(ORDERS, database)
    targets.add(EXPORTS, database, other)
    async with targets.run() as running:
        await targets.repairs(ORDERS, EXPORTS)
        await eventually(running.ready)
        leases = await database.fetch("SELECT table_name FROM reconciler.lease")
        scrape = (await running.get("/metrics")).text

    assert len(leases) == 2
    by_target = {
        sample.labels["target"]: sample.value
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
        if sample.name == "reconciler_rows_written_total"
    }
    assert by_target == {ORDERS: 1, EXPORTS: 1}
    assert scrape.count("# TYPE reconciler_rows_written_total counter") == 1


async def test_two_loops_over_two_statuses_of_one_row(
    targets: Targets, database: Database, world: World
) -> None:
    columns = {"workflow_id": "export_id", "run_id": "export_run", "status": "export_status"}
    table, written = "workflow_executions", {"completed_at": "exported_at", "error_message": "why"}
    await database.execute(
        f"ALTER TABLE {table} ADD export_id text, ADD export_run text, ADD why text,"
        " ADD export_status text DEFAULT 'running', ADD exported_at timestamptz"
    )
    targets.add(ORDERS, database)
    mapping = {f"columns.{key}": name for key, name in (columns | written).items()}
    targets.add(EXPORTS, database, **mapping)
    export = await world.ended(await world.start("complete"))
    async with targets.run():
        row = await targets.insert(ORDERS)
        await database.execute(
            f"UPDATE {table} SET export_id = $1, export_run = $2",
            *(export.workflow_id, export.run_id),
        )

        async def repaired() -> bool:
            found = await database.fetch(
                f"SELECT status, export_status FROM {table} WHERE id = $1", row
            )
            return list(found[0].values()) == ["failed", "completed"]

        await eventually(repaired)
        leases = await database.fetch("SELECT DISTINCT table_name FROM reconciler.lease")

    assert len(leases) == 2


async def test_each_line_about_a_target_carries_its_name(
    targets: Targets, database: Database, other: str
) -> None:
    targets.add(ORDERS, database)
    targets.add(EXPORTS, database, other)
    async with targets.run() as running:
        await targets.repairs(ORDERS, EXPORTS)
        await running.stop()

    of_process = {"http_listening", "stopping", "stopped"}
    named = {line["event"] for line in running.lines if line.get("target") in (ORDERS, EXPORTS)}
    unnamed = {line["event"] for line in running.lines if "target" not in line}
    assert named >= {"loop_started", "lease_acquired", "row_finished"}
    assert unnamed == of_process


async def test_a_table_that_does_not_exist_yet(targets: Targets, database: Database) -> None:
    targets.add(ORDERS, database)
    targets.add(EXPORTS, database, "exports")
    async with targets.run() as running:
        line = await running.said("target_rejected", target=EXPORTS)
        await targets.repairs(ORDERS)
        found = await of(running, EXPORTS)
        assert (found["ready"], found["why"]) == (False, line["error"])
        assert await running.metric("reconciler_target_up", target=EXPORTS) == 0
        assert await running.metric("reconciler_target_up", target=ORDERS) == 1

        await database.execute("CREATE TABLE exports (LIKE workflow_executions INCLUDING ALL)")
        await targets.repairs(EXPORTS)
        await eventually(running.ready)
        assert await running.metric("reconciler_target_up", target=EXPORTS) == 1


async def test_if_no_table_fits_the_process_ends(targets: Targets, database: Database) -> None:
    targets.add(ORDERS, database, "none")
    targets.add(EXPORTS, database, "neither")
    result = await targets.command("run", RECONCILER_HTTP_PORT="0")

    assert result.code == 4
    last = result.err.splitlines()[-1]
    assert last.startswith("reconciler: no target can be served; orders: ")


async def test_only_the_named_target_is_served(targets: Targets, database: Database) -> None:
    targets.add(ORDERS, database, "none")
    targets.add(EXPORTS, database)
    async with targets.run("--target", EXPORTS) as running:
        await targets.repairs(EXPORTS)
        await eventually(running.ready)
        assert (await running.get("/readyz")).json()["targets"].keys() == {EXPORTS}
    alone = await targets.command("run", "--target", ORDERS, RECONCILER_HTTP_PORT="0")

    assert alone.code == 4
    assert "no target" not in alone.err, "as without targets"


@pytest.mark.long
async def test_a_temporal_that_hangs(
    targets: Targets, database: Database, other: str, hang_up: Proxy
) -> None:
    targets.add(ORDERS, database)
    targets.add(EXPORTS, database, other, temporal_address=f"127.0.0.1:{hang_up.port}")
    async with targets.run() as running:
        await targets.repairs(ORDERS, EXPORTS)
        hang_up.blackhole()
        await targets.insert(EXPORTS)
        await running.said("pass_failed", target=EXPORTS)
        await targets.repairs(ORDERS)
        assert await is_ready(running, ORDERS)
        assert not await is_ready(running, EXPORTS)

        hang_up.heal()
        await targets.repairs(EXPORTS)

    assert running.logged("pass_failed", target=ORDERS) == []


@pytest.mark.long
async def test_a_signal_stops_all_targets_at_once(
    targets: Targets, database: Database, other: str, hang_up: Proxy
) -> None:
    """One that cannot end in time does not keep the others from it."""
    targets.add(ORDERS, database)
    targets.add(EXPORTS, database, other, temporal_address=f"127.0.0.1:{hang_up.port}")
    async with targets.run() as running:
        await targets.repairs(ORDERS, EXPORTS)
        hang_up.blackhole()
        await targets.insert(EXPORTS)
        running.send(signal.SIGTERM)

        assert await running.ended() == 0
    (held,) = await database.fetch(
        "SELECT count(*) AS number FROM reconciler.lease WHERE expires_at > now()"
    )
    assert held["number"] == 0, "nobody has to wait for one to run out"


@pytest.mark.long
async def test_replicas_share_the_targets(targets: Targets, database: Database, other: str) -> None:
    """The one with the lease of a table passes over it."""
    targets.add(ORDERS, database)
    targets.add(EXPORTS, database, other)
    async with targets.run("--target", ORDERS) as first:
        await eventually(partial(has_role, first, "holder", ORDERS))
        async with targets.run() as second:
            await eventually(partial(has_role, second, "standby", ORDERS))
            await eventually(partial(has_role, second, "holder", EXPORTS))
            await targets.repairs(ORDERS, EXPORTS)
            assert len(first.logged("row_finished", target=ORDERS)) == 1
            assert second.logged("row_finished", target=ORDERS) == []
            assert len(second.logged("row_finished", target=EXPORTS)) == 1

            first.send(signal.SIGKILL)
            await first.ended()
            await targets.repairs(ORDERS, EXPORTS)
            assert await has_role(second, "holder", ORDERS, EXPORTS)
