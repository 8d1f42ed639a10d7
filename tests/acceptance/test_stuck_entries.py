"""What passes record of stuck rows and of rows at risk, and when it is forgotten."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from reconciler.core.stuck.condition import Reason
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import SHORT_LEASE, daemon
from tests.support.commands.open_stage import DELAY, OpenStage
from tests.support.polling import eventually
from tests.support.stuck import Entries, stuck_row

Entry = dict[str, Any]
#: Every row is described, however young.
EACH = {"RECONCILER_GRACE": "0s", "RECONCILER_FULL_SWEEP_INTERVAL": "0"}
ROWS = "SELECT xmin::text, t::text FROM workflow_executions t WHERE status = 'running' ORDER BY id"


@pytest.fixture
async def stage(
    database: Database, temporal: Client, task_queue: str, workflow_id: str
) -> AsyncIterator[OpenStage]:
    stage = OpenStage(database, temporal, task_queue, workflow_id)
    yield stage
    await stage.end()


async def entries(database: Database, table: str = "stuck") -> dict[str, Entry]:
    """The entries, by workflow id."""
    found: Sequence[Entry] = await database.fetch(f"SELECT * FROM reconciler.{table}")
    return {each["workflow_id"]: each for each in found}


async def test_an_entry_stays_until_the_row_is_healthy_or_ended(
    reconciler: Command, stage: OpenStage
) -> None:
    """It goes however the row ends, and no running row is ever written."""
    database = stage.database
    handles = [await stage.start("wait", start_delay=DELAY) for _ in range(4)]
    kept, ended, by_others, deleted = (handle.id for handle in handles)
    healthy = (await stage.start("wait")).id
    await database.insert("unknown", None, created_at=(await handles[0].describe()).start_time)
    record = await Entries.of(database)
    await record.record([stuck_row(5, workflow_id=healthy)], [], [])
    before = await database.fetch(ROWS)

    dry = await reconciler("once", "--dry-run", **EACH)
    after_dry = await entries(database), await entries(database, "at_risk")
    assert (await reconciler("once", **EACH)).code == 0
    first, at_risk = await entries(database), await entries(database, "at_risk")

    assert (dry.code, list(after_dry[0]), after_dry[1]) == (0, [healthy], {})
    assert set(first) == {handle.id for handle in handles}
    entry, described = first[kept], await handles[0].describe()
    assert (entry["reason"], entry["run_id"]) == (Reason.DELAYED, described.run_id)
    assert (entry["table_name"], entry["namespace"]) == ("workflow_executions", "default")
    assert entry["workflow_type"] == "Scripted"
    assert abs((entry["since"] - described.start_time).total_seconds()) < 1
    assert (list(at_risk), at_risk["unknown"]["reason"]) == (["unknown"], "never_started")
    assert at_risk["unknown"]["lost_at"] > at_risk["unknown"]["since"]
    assert await database.fetch(ROWS) == before

    await handles[1].terminate()
    await database.execute(
        "UPDATE workflow_executions SET status = 'completed' WHERE workflow_id = $1", by_others
    )
    await database.execute("DELETE FROM workflow_executions WHERE workflow_id = $1", deleted)
    assert (await reconciler("once", **EACH)).code == 0
    second, still = await entries(database), await entries(database, "at_risk")

    assert list(second) == [kept]
    assert second[kept]["since"] == entry["since"]
    assert second[kept]["seen"] > entry["seen"]
    assert still["unknown"]["since"] == at_risk["unknown"]["since"], "when it was first seen"
    assert ended not in second
    rows = [row for row in before if any(each in str(row) for each in (kept, healthy, "unknown,"))]
    assert await database.fetch(ROWS) == rows


async def test_since_survives_a_killed_process_and_metrics_show_it(
    reconciler: Command, stage: OpenStage
) -> None:
    handle = await stage.start("wait", start_delay=DELAY)
    lost = await stage.start("wait", start_delay=DELAY)
    command = replace(reconciler, limits=SHORT_LEASE)

    async with daemon(command) as first:

        async def shown() -> bool:
            return await first.metric("reconciler_open_rows", reason="Delayed") == 2

        await eventually(shown)
        assert await first.metric("reconciler_open_rows", reason="NoWorker") == 0
        age = await first.metric("reconciler_stuck_oldest_seconds", reason="Delayed")
        first.send(signal.SIGKILL)
        await first.ended()
    before = await entries(stage.database)
    # As a process leaves it that is killed before the end of its pass.
    await stage.database.execute("DELETE FROM workflow_executions WHERE workflow_id = $1", lost.id)

    async with daemon(command) as second:

        async def repaired() -> bool:
            return list(await entries(stage.database)) == [handle.id]

        await eventually(repaired)
        assert await second.stop() == 0
    after = await entries(stage.database)

    assert age is not None
    assert set(before) == {handle.id, lost.id}
    assert after[handle.id]["since"] == before[handle.id]["since"]


async def test_two_loops_over_one_table_do_not_touch_each_others_entries(
    reconciler: Command, stage: OpenStage
) -> None:
    await stage.database.execute("ALTER TABLE workflow_executions ADD tenant int DEFAULT 1")
    ours = await stage.start("wait", start_delay=DELAY)
    theirs = await stage.start("wait", start_delay=DELAY)
    await stage.database.execute(
        "UPDATE workflow_executions SET tenant = 2 WHERE workflow_id = $1", theirs.id
    )

    for tenant in (1, 2, 1):
        assert (await reconciler("once", RECONCILER_WHERE=f"tenant={tenant}")).code == 0

    found = await entries(stage.database)
    assert {name: each["table_name"] for name, each in found.items()} == {
        ours.id: "workflow_executions where tenant = 1",
        theirs.id: "workflow_executions where tenant = 2",
    }
