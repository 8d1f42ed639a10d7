"""Passes that leave what visibility shows as open: from one process to the next, and in a loop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import daemon
from tests.support.commands.stage import Stage
from tests.support.polling import eventually
from tests.support.temporal.world import World

OPEN = 30


@pytest.fixture
async def stage(database: Database, world: World) -> AsyncIterator[Stage]:
    """Thirty workflows that simply go on, a row of each, and a visibility that shows them."""
    stage = Stage(database, world.client, world.workflow_id)
    for number in range(OPEN):
        await stage.insert(await stage.start(f"open {number}"))
    await shown(stage, OPEN)
    yield stage
    await stage.end()


async def shown(stage: Stage, count: int) -> None:
    query = f"WorkflowId STARTS_WITH '{stage.prefix}/' AND ExecutionStatus = 'Running'"

    async def listed() -> bool:
        return (await stage.client.count_workflows(query)).count == count

    await eventually(listed)


async def once(reconciler: Command, *arguments: str, **variables: str) -> dict[str, Any]:
    result = await reconciler("once", "--json", *arguments, **variables)
    assert result.code == 0, result.err
    return result.json


def calls(report: dict[str, Any]) -> tuple[int, int]:
    return report["rpcs"]["describe"], report["rpcs"]["list"]


async def test_the_second_command_describes_only_what_may_have_ended(
    reconciler: Command, stage: Stage
) -> None:
    first = await once(reconciler)
    assert (first["screened"], calls(first)) == (0, (OPEN, 0))
    await stage.handles[7].terminate("ticket 42")
    await shown(stage, OPEN - 1)

    second = await once(reconciler)

    assert second["written"] == {"completed": 0, "failed": 1}
    assert await stage.statuses() == {"running": OPEN - 1, "failed": 1}
    described, listed = calls(second)
    assert listed == 1
    assert described == OPEN - second["screened"]
    assert second["screened"] >= 25, "but for the one that ended, and whose turn it is"
    assert second["left"]["open"] == OPEN - 1


async def test_each_command_sweeps_on_from_where_the_last_one_ended(
    reconciler: Command, stage: Stage
) -> None:
    for _ in range(3):
        await once(reconciler)

    passes = await stage.passes()
    sweeps = [json.loads(str(each["report"]))["sweep"] for each in passes]
    assert sweeps[0]["rest"] is None, "the first describes every row"
    round_began = sweeps[0]["began"]
    assert [sweep["round_began"] for sweep in sweeps] == [round_began] * 3
    (row,) = await stage.database.fetch("SELECT max(id) AS last FROM workflow_executions")
    assert [sweep["rest"]["until"] for sweep in sweeps[1:]] == [row["last"]] * 2
    assert (
        0 < sweeps[1]["described"] + sweeps[1]["owed"] < sweeps[2]["described"] + sweeps[2]["owed"]
    )


async def test_passes_that_did_not_come_to_their_end_count_for_nothing(
    reconciler: Command, stage: Stage
) -> None:
    await once(reconciler)
    await stage.database.execute("UPDATE reconciler.passes SET outcome = 'aborted'")

    assert calls(await once(reconciler)) == (OPEN, 0)


async def test_a_dry_run_describes_every_row_and_sweeps_nothing(
    reconciler: Command, stage: Stage
) -> None:
    await once(reconciler)
    before = await stage.contents()

    report = await once(reconciler, "--dry-run")

    assert (report["screened"], calls(report)) == (0, (OPEN, 0))
    assert await stage.contents() == before


async def test_without_an_interval_every_row_is_described(
    reconciler: Command, stage: Stage
) -> None:
    for _ in range(2):
        report = await once(reconciler, RECONCILER_FULL_SWEEP_INTERVAL="0")

        assert (report["screened"], calls(report)) == (0, (OPEN, 0))


@pytest.mark.parametrize("journal", ["on", "off"])
async def test_a_loop_says_what_is_saved_and_where_visibility_was_wrong(
    reconciler: Command, stage: Stage, journal: str
) -> None:
    """Without the feed; without our schema too, where a process knows of its own passes only."""
    if journal == "off":
        await stage.database.execute("DROP SCHEMA reconciler CASCADE")
    settings = {"RECONCILER_JOURNAL": journal, "RECONCILER_FEED_INTERVAL": "0"}
    async with daemon(reconciler, **settings) as running:

        async def screened() -> bool:
            return (await running.metric("reconciler_rows_screened_total") or 0) >= OPEN

        await eventually(screened)
        assert await running.metric("reconciler_screening_disagreements_total") == 0
        assert await running.metric("reconciler_sweep_round_seconds") == 600
        scanned = await running.metric("reconciler_rows_scanned_total") or 0
        described = await running.metric("reconciler_rpcs_total", method="describe") or 0
        await stage.handles[7].terminate("ticket 42")

        async def repaired() -> bool:
            return (await stage.statuses())["failed"] == 1

        await eventually(repaired)
    assert scanned >= 2 * OPEN
    assert 0 < described < scanned
