"""Workers are killed at random, and Temporal is restarted: nothing is lost, or done twice."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import Client

from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from reconciler.temporal.client.runtime import quiet_runtime
from tests.conftest import Database, opened
from tests.support.commands.command import Command
from tests.support.commands.fleet import HURRIED, SPEED, Fleet
from tests.support.commands.stage import Stage
from tests.support.polling import eventually
from tests.support.servers.restartable import (
    RestartableTemporal,
    restartable_postgres,
    restartable_temporal,
)

WORKERS = 4
#: Of ten rows in a page.
CLOSED, OPEN, MISSING = 7, 1, 2


@asynccontextmanager
async def fleet_on(
    server: RestartableTemporal, database: Database, folder: Path
) -> AsyncIterator[Fleet]:
    """A fleet whose Temporal can be restarted."""
    client = await Client.connect(server.address, runtime=quiet_runtime())
    stage = Stage(database, client, "chaos")
    environment = {"DATABASE_URL": database.url, "TEMPORAL_ADDRESS": server.address}
    limits = {**HURRIED, "reconciler.fleet.process.CHECK_EVERY": 1}
    yield Fleet(stage, Command(environment, folder, limits=limits), {"missing": "fail"})


async def chaos(fleet: Fleet, server: RestartableTemporal, pages: int, kills: int) -> None:
    """Kill workers and Temporal while they work; then check everything."""
    stage, chance = fleet.stage, random.Random()  # noqa: S311
    closed, still_open = await stage.closed(), await stage.start("open")
    for _ in range(pages):
        await stage.insert(closed, CLOSED)
        await stage.insert(still_open, OPEN)
        await stage.insert_missing(MISSING)
    speed = replace(SPEED, workers=WORKERS, max_rps=10 * WORKERS, batch_size=10, range_rows=50)
    due = pages * (CLOSED + MISSING)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(fleet.worker("--ranges", "1")) for _ in range(WORKERS)
        ]
        handle = await fleet.start(speed)
        for number in range(kills):
            await written(stage, number * pages * CLOSED // (2 * kills) + 1)
            victim = workers.pop(chance.randrange(WORKERS - 1))
            victim.send(signal.SIGKILL)
            await victim.ended()
            if number == kills // 2:
                await server.kill()
                await server.start()
            workers.append(await stack.enter_async_context(fleet.worker("--ranges", "1")))
        result = await handle.result()

    report = result.report
    assert (report["scanned"], report["written"]["failed"]) == (pages * 10, due)
    assert (report["left"]["open"], report["lost_races"]) == (pages * OPEN, 0)
    assert await stage.journalled() == due
    undone = await fleet.command("undo", report["pass_id"])
    assert undone.code == 0, undone.err
    assert await stage.statuses() == {"running": pages * 10}


async def written(stage: Stage, rows: int) -> None:
    async def has() -> bool:
        return await stage.journalled() >= rows

    await eventually(has)


@pytest.mark.long
async def test_ranges_go_on_after_a_restart_of_the_database(
    temporal: Client, temporal_address: str, workflow_id: str, tmp_path: Path
) -> None:
    async with restartable_postgres() as server:
        await migrate(server.url, TableMapping())
        environment = {"DATABASE_URL": server.url, "TEMPORAL_ADDRESS": temporal_address}
        async with opened(server.url) as database:
            stage = Stage(database, temporal, workflow_id)
            fleet = Fleet(stage, Command(environment, tmp_path, limits=HURRIED))
            await stage.insert(await stage.closed(), 200)
            async with fleet.worker() as worker:
                speed = replace(SPEED, max_rps=16, batch_size=10, range_rows=50)
                handle = await fleet.start(speed)
                await written(stage, 40)
                await server.kill()
                await worker.said("work_failed")
                await server.start()
                result = await handle.result()

            assert (result.report["scanned"], result.report["written"]["failed"]) == (200, 200)
            assert await stage.journalled() == 200
            await stage.end()


@pytest.mark.long
async def test_the_counts_are_those_of_one_pass(database: Database, tmp_path: Path) -> None:
    async with (
        restartable_temporal() as server,
        fleet_on(server, database, tmp_path) as fleet,
    ):
        await chaos(fleet, server, pages=20, kills=3)
