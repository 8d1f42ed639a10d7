"""Several replicas: one runs passes, the others are on standby and take over."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import SHORT_LEASE, Daemon, daemon
from tests.support.polling import eventually
from tests.support.temporal.world import World


@pytest.fixture
def replica(reconciler: Command) -> Command:
    return replace(reconciler, limits=SHORT_LEASE)


async def finds_work(replica: Daemon, database: Database, world: World) -> None:
    """Wait until this replica is the one that finishes a row."""
    row = world.row(await world.start("wait"))
    await database.insert(row.workflow_id, row.run_id)
    await world.client.get_workflow_handle(row.workflow_id).terminate("end")
    await replica.said("row_finished", workflow_id=row.workflow_id)


async def holders(database: Database) -> list[dict[str, object]]:
    return await database.fetch(
        "SELECT holder, epoch, expires_at > now() AS held FROM reconciler.lease"
    )


@pytest.mark.long
async def test_one_passes_and_the_other_takes_over_when_it_is_killed(
    replica: Command, database: Database, world: World
) -> None:
    async with daemon(replica) as first:
        await eventually(first.holds)
        async with daemon(replica) as second:
            await eventually(second.stands_by)
            assert await second.metric("reconciler_lease_held") == 0
            assert await second.metric("reconciler_passes_total", outcome="ok") == 0
            good = await second.metric("reconciler_last_good_pass_timestamp_seconds")
            assert good, "whichever replica it was"

            first.send(signal.SIGKILL)
            await first.ended()
            await finds_work(second, database, world)
            await eventually(second.holds)
            (lease,) = await holders(database)
            assert lease["epoch"] == 2
            assert f"/{second.process.pid}/" in str(lease["holder"])


@pytest.mark.long
async def test_a_rolling_deploy_leaves_no_gap(
    replica: Command, database: Database, world: World
) -> None:
    async with daemon(replica) as old:
        await eventually(old.holds)
        async with daemon(replica) as new:
            await eventually(new.stands_by)
            assert await old.stop() == 0
            (lease,) = await holders(database)
            ours = f"/{old.process.pid}/" in str(lease["holder"])
            assert not (ours and lease["held"]), "nobody has to wait for it to run out"
            await finds_work(new, database, world)


@pytest.mark.long
async def test_a_holder_that_stood_still_does_no_harm(
    replica: Command, database: Database, world: World
) -> None:
    """Suspended until its lease has expired, it notices and goes on standby."""
    async with daemon(replica) as first:
        await eventually(first.holds)
        async with daemon(replica) as second:
            await eventually(second.stands_by)
            first.send(signal.SIGSTOP)
            try:
                await finds_work(second, database, world)
            finally:
                first.send(signal.SIGCONT)
            await first.said("lease_lost")
            await eventually(first.stands_by)
            await eventually(second.holds)
    changes = await database.fetch("SELECT count(*) AS n FROM reconciler.changes")
    assert changes == [{"n": 1}]


async def test_each_table_and_namespace_has_a_lease_of_its_own(
    replica: Command, database: Database
) -> None:
    await database.execute("CREATE TABLE other (LIKE workflow_executions INCLUDING ALL)")
    async with daemon(replica) as one, daemon(replica, RECONCILER_TABLE="other") as two:
        await asyncio.gather(eventually(one.holds), eventually(two.holds))

        heartbeats = await database.fetch("SELECT DISTINCT table_name FROM reconciler.passes")
    assert {str(row["table_name"]) for row in heartbeats} == {"workflow_executions", "other"}
