"""Several replicas: one passes, the others stand by and take over."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest

from tests.acceptance.command import Command
from tests.acceptance.daemon import HURRIED, Daemon, daemon
from tests.conftest import Database
from tests.polling import eventually
from tests.world import World

#: Seconds until another replica passes: far more than it takes.
TAKEN_OVER = 30


@pytest.fixture
def replica(reconciler: Command) -> Command:
    return replace(reconciler, limits=HURRIED)


async def role(replica: Daemon) -> str:
    return str((await replica.get("/readyz")).json()["role"])


async def finds_work(replica: Daemon, database: Database, world: World, seconds: float) -> None:
    """Wait until this replica is the one that finishes a row."""
    row = world.row(await world.start("wait"))
    await database.insert(row.workflow_id, row.run_id)
    await world.client.get_workflow_handle(row.workflow_id).terminate("end")
    await replica.said("finished", seconds, workflow_id=row.workflow_id)


async def holders(database: Database) -> list[dict[str, object]]:
    return await database.fetch(
        "SELECT holder, epoch, expires_at > now() AS held FROM reconciler.lease"
    )


@pytest.mark.timeout(120)
async def test_one_passes_and_the_other_takes_over_when_it_is_killed(
    replica: Command, database: Database, world: World
) -> None:
    async with daemon(replica) as first:
        await eventually(first.ready)
        async with daemon(replica) as second:
            await eventually(second.ready)
            assert (await role(first), await role(second)) == ("holder", "standby")
            assert await second.metric("reconciler_lease_held") == 0
            assert await second.metric("reconciler_passes_total", outcome="ok") == 0
            good = await second.metric("reconciler_last_good_pass_timestamp_seconds")
            assert good, "whichever replica it was"

            first.send(signal.SIGKILL)
            await first.ended()
            await finds_work(second, database, world, TAKEN_OVER)
            assert await role(second) == "holder"
            (lease,) = await holders(database)
            assert lease["epoch"] == 2
            assert f"/{second.process.pid}/" in str(lease["holder"])


@pytest.mark.timeout(120)
async def test_a_rolling_deploy_leaves_no_gap(
    replica: Command, database: Database, world: World
) -> None:
    async with daemon(replica) as old:
        await eventually(old.ready)
        async with daemon(replica) as new:
            await eventually(new.ready)
            assert await old.stop() == 0
            (lease,) = await holders(database)
            ours = f"/{old.process.pid}/" in str(lease["holder"])
            assert not (ours and lease["held"]), "nobody has to wait for it to run out"
            await finds_work(new, database, world, TAKEN_OVER)


@pytest.mark.timeout(120)
async def test_a_holder_that_stood_still_does_no_harm(
    replica: Command, database: Database, world: World
) -> None:
    """Suspended past its lease and woken up again: it finds out, and stands by."""
    async with daemon(replica) as first:
        await eventually(first.ready)
        async with daemon(replica) as second:
            await eventually(second.ready)
            first.send(signal.SIGSTOP)
            try:
                await finds_work(second, database, world, TAKEN_OVER)
            finally:
                first.send(signal.SIGCONT)
            await first.said("lost the lease")

            async def stands_by() -> bool:
                return await role(first) == "standby"

            await eventually(stands_by)
            await eventually(first.ready)
            assert await role(second) == "holder"
    changes = await database.fetch("SELECT count(*) AS n FROM reconciler.changes")
    assert changes == [{"n": 1}]


async def test_each_table_and_namespace_has_a_lease_of_its_own(
    replica: Command, database: Database
) -> None:
    await database.execute("CREATE TABLE other (LIKE workflow_executions INCLUDING ALL)")
    async with daemon(replica) as one, daemon(replica, RECONCILER_TABLE="other") as two:
        await asyncio.gather(eventually(one.ready), eventually(two.ready))

        assert (await role(one), await role(two)) == ("holder", "holder")
        heartbeats = await database.fetch("SELECT DISTINCT table_name FROM reconciler.passes")
    assert {str(row["table_name"]) for row in heartbeats} == {"workflow_executions", "other"}
