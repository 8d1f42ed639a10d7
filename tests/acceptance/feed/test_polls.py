"""What a poll costs when nothing has closed, and what it leaves behind when something has."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import RetryPolicy

from tests.support.commands.scene import LISTS, Scene
from tests.support.network.visibility import DESCRIBE, LIST
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace

#: No lease is renewed during the test.
UNDISTURBED = {"reconciler.app.lease.LEASE_TIME": 3600, "reconciler.app.lease.CLAIM_EVERY": 1800}
OPEN = 20


async def test_a_poll_without_news_costs_five_lists_and_nothing_else(
    scene: Scene, temporal: Client
) -> None:
    # Elsewhere, what has closed is looked up again for some minutes, in case its row is late.
    scene.client = await new_namespace(temporal, "quiet")
    scene.command = replace(scene.command, limits=UNDISTURBED)
    for number in range(OPEN):
        await scene.start_with_row(f"open {number}")
    async with scene.following(TEMPORAL_NAMESPACE=scene.client.namespace):
        await scene.polls()
        database, calls = await scene.queries(), Counter(scene.seen.calls)
        lists, passes = Counter(scene.seen.queries), await scene.all_passes()

        await scene.polls(4)
        new = scene.seen.queries - lists
        rest = scene.seen.calls - calls - Counter({LIST: new.total()})

        assert set(new) == LISTS
        assert max(new.values()) - min(new.values()) <= 1, "one per status and poll"
        assert rest.total() <= rest["DescribeNamespace"] <= 1, "once a minute"
        assert await scene.queries() == database, "no connection has been used"
        assert await scene.all_passes() == passes


async def test_a_poll_that_writes_is_a_pass_that_can_be_undone(scene: Scene) -> None:
    handles = [await scene.start_with_row(f"open {number}") for number in range(OPEN)]
    async with scene.following() as running:
        described = scene.seen.calls[DESCRIBE]
        await handles[7].terminate("ticket 42")
        await eventually(scene.finished(handles[7]))
        line = await running.said("row_finished")
        assert scene.seen.calls[DESCRIBE] - described == 1
        assert await running.stop() == 0

    await scene.verify()
    (change,), (kept,) = await scene.changes(), await scene.passes("feed")
    assert (change["workflow_id"], change["found_by"]) == (handles[7].id, "feed")
    assert change["pass_id"] == kept["id"]
    assert line["pass_id"] == str(kept["id"])
    assert json.loads(kept["report"])["written"] == {"completed": 0, "failed": 1}
    assert f"{kept['id']}" in (await scene.command("passes")).out
    shown = await scene.command("changes", "--json")
    assert json.loads(shown.out)["found_by"] == "feed"
    undone = await scene.command("undo", str(kept["id"]), "--json")
    assert undone.json["written"]["running"] == 1, undone.err
    assert not await scene.finished(handles[7])()


async def test_what_has_to_wait(scene: Scene) -> None:
    """Rows that come after their ends, rows that are too young, and chains that are not over."""
    soon = RetryPolicy(initial_interval=timedelta(milliseconds=300), backoff_coefficient=1)
    async with scene.following(RECONCILER_GRACE="4s"):
        late, young = await scene.start("late"), await scene.start("young")
        open_chains = [
            await scene.start_with_row("retried", "fail", retry_policy=soon),
            await scene.start_with_row("cron", "complete", cron_schedule="@every 1s"),
        ]
        for handle in (late, young):
            await handle.terminate()
        await scene.database.insert(young.id, None)
        await scene.polls(2)
        assert await scene.changes() == []

        await scene.insert(late)
        await eventually(scene.finished(late, young))

        await scene.polls(3)
        for chain in open_chains:
            assert 1 <= scene.seen.described[chain.id] <= 3, "again after half a minute"
    assert await scene.found_by() == {"feed": 2}
    await scene.end_all()
    assert {row["workflow_id"] for row in await scene.rows("status = 'running'")} == {
        chain.id for chain in open_chains
    }


async def test_a_row_that_the_table_refuses_since_it_was_altered_is_written_soon(
    scene: Scene,
) -> None:
    scene.command = replace(scene.command, limits={"reconciler.app.feed.MAPPED_FOR": 3600})
    before, after = [await scene.start_with_row(name) for name in ("before", "after")]
    async with scene.following() as running:
        await before.terminate()
        await eventually(scene.finished(before))
        await scene.database.execute(
            "ALTER TABLE workflow_executions ALTER error_message TYPE varchar(20) USING ''"
        )
        await after.terminate("a reason that no longer fits into the column")
        await running.said("row_refused")

        await eventually(scene.finished(after))

    assert await scene.found_by() == {"feed": 2}
