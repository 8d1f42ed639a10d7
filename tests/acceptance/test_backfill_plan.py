"""A dry run that is kept, and written later exactly as it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.acceptance.test_backfill import APPLY, fill
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.stage import Stage
from tests.support.holding import PATIENT, held_up

#: Nobody answers there: a plan is written without asking Temporal.
NO_TEMPORAL = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    yield stage
    await stage.end()


def rows_of(plan: Path) -> dict[int, dict[str, dict[str, object]]]:
    _, *rows, _ = map(json.loads, plan.read_text().splitlines())
    return {row["id"]: row for row in rows}


async def values(stage: Stage) -> dict[int, dict[str, object]]:
    """The rows as a plan says them."""
    rows = await stage.database.fetch("SELECT * FROM workflow_executions")
    return {
        int(str(row["id"])): {
            "status": row["status"],
            "completed_at": row["completed_at"] and row["completed_at"].isoformat(),  # type: ignore[attr-defined]
            "error_message": row["error_message"],
        }
        for row in rows
    }


async def test_a_plan_is_written_exactly_as_it_is(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    before, untouched = await values(stage), await stage.contents()

    dry = await reconciler("backfill", "--missing", "fail", "--output", "plan.jsonl")
    planned = rows_of(reconciler.folder / "plan.jsonl")

    assert dry.code == 0, dry.err
    assert "to write exactly this: reconciler backfill --apply --plan plan.jsonl" in dry.out
    assert await stage.contents() == untouched
    assert {id_: row["old"] for id_, row in planned.items()} == before

    result = await reconciler(*APPLY, "--plan", "plan.jsonl", "--json", **NO_TEMPORAL)

    assert result.code == 0, result.err
    assert result.json["written"]["failed"] == 8
    expected = {id_: row["new"] or row["old"] for id_, row in planned.items()}
    assert await values(stage) == expected
    assert await stage.journalled() == 8


async def test_a_row_that_somebody_has_written_since_is_left_alone(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    await reconciler("backfill", "--output", "plan.jsonl")
    await stage.database.execute(
        "UPDATE workflow_executions SET status = 'completed' WHERE id ="
        " (SELECT min(id) FROM workflow_executions)"
    )

    result = await reconciler(*APPLY, "--plan", "plan.jsonl", "--json", **NO_TEMPORAL)

    assert result.json["lost_races"] == 1
    assert await stage.statuses() == {"completed": 1, "failed": 4, "running": 5}


async def test_what_the_breaker_held_back_stays_held_back_unless_forced(
    reconciler: Command, stage: Stage
) -> None:
    await stage.insert_missing(25)
    await reconciler("backfill", "--missing", "fail", "--output", "plan.jsonl")
    apply = (*APPLY, "--plan", "plan.jsonl", "--json")

    held_back = await reconciler(*apply, **NO_TEMPORAL)
    assert held_back.code == 3
    assert held_back.json["held_back"] == 25
    assert await stage.statuses() == {"running": 25}

    forced = await reconciler(*apply, "--force", **NO_TEMPORAL)
    assert forced.code == 0
    assert await stage.statuses() == {"failed": 25}


async def test_killed_on_the_way_the_same_plan_goes_on(reconciler: Command, stage: Stage) -> None:
    await stage.insert(await stage.closed(), 300)
    small = replace(
        reconciler,
        environment={**reconciler.environment, "RECONCILER_BATCH_SIZE": "10"},
        limits=PATIENT,
    )
    await small("backfill", "--output", "plan.jsonl", "--max-rps", "0")
    apply = (*APPLY, "--plan", "plan.jsonl")
    async with held_up(stage.database, 100) as hold:
        process = await small.start(*apply, **NO_TEMPORAL)
        await hold.reached()
        process.kill()
        await process.communicate()
        await hold.cut_off()
    assert 0 < await stage.journalled() < 300
    await stage.database.execute("DELETE FROM reconciler.lease")

    result = await small(*apply, "--json", **NO_TEMPORAL)

    assert result.code == 0, result.err
    assert result.json["scanned"] == result.json["written"]["failed"] == 300
    assert await stage.journalled() == 300
    (row,) = await stage.passes()
    assert (str(row["id"]), row["outcome"]) == (result.json["pass_id"], "ok")


SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "truncated": (lambda text: text[: len(text) // 2], "is truncated"),
    "changed": (lambda text: text.replace("failed", "beaten"), "was changed"),
    "of another version": (
        lambda text: text.replace('"reconciler_plan": 1', '"reconciler_plan": 2'),
        "version",
    ),
    "of another table": (
        lambda text: text.replace('"table": "workflow_executions"', '"table": "jobs"'),
        "is of table jobs",
    ),
    "empty": (lambda text: "", "is empty"),
}


async def test_a_plan_that_cannot_be_trusted_is_refused(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    await reconciler("backfill", "--output", "plan.jsonl")
    plan = reconciler.folder / "plan.jsonl"
    whole, before = plan.read_text(), await stage.contents()

    for spoil, message in SPOILT.values():
        plan.write_text(spoil(whole))
        result = await reconciler(*APPLY, "--plan", "plan.jsonl", **NO_TEMPORAL)

        assert result.code == 2
        assert result.out == ""
        assert result.err.count("\n") == 1
        assert result.err.startswith("reconciler: --plan plan.jsonl: ")
        assert message in result.err
    assert await stage.contents() == before


async def test_an_output_that_cannot_be_written_is_refused_before_anything_is_asked(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    await reconciler("backfill", "--output", "plan.jsonl")
    kept = (reconciler.folder / "plan.jsonl").read_text()

    for name in ("plan.jsonl", "plan.txt", "nowhere/plan.csv"):
        result = await reconciler("backfill", "--output", name)

        assert result.code == 2
        assert result.err.count("\n") == 1
        assert name in result.err
    assert (reconciler.folder / "plan.jsonl").read_text() == kept


async def test_people_can_read_a_plan_as_a_table(reconciler: Command, stage: Stage) -> None:
    await fill(stage)

    await reconciler("backfill", "--output", "plan.csv")

    header, *rows = (reconciler.folder / "plan.csv").read_text().splitlines()
    assert header.startswith("id,workflow_id,run_id,created_at,verdict,")
    assert len(rows) == 10


async def test_a_dry_run_that_is_aborted_leaves_no_file(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    await stage.database.execute("ALTER TABLE workflow_executions DROP COLUMN status CASCADE")

    await reconciler("backfill", "--output", "plan.jsonl")

    assert [path.name for path in reconciler.folder.iterdir() if "plan" in path.name] == []


async def test_a_plan_of_a_target_is_only_for_that_one(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    (reconciler.folder / "reconciler.toml").write_text(
        "[targets.eu]\n[targets.us.statuses]\nrunning = 'queued'\n"
    )
    dry = await reconciler("backfill", "--target", "eu", "--output", "plan.jsonl")
    apply = [*APPLY, "--plan", "plan.jsonl", "--target"]

    refused = await reconciler(*apply, "us")

    assert "--apply --plan plan.jsonl --target eu\n" in dry.out
    assert refused.code == 2
    assert refused.err == ("reconciler: --plan plan.jsonl: is of target eu, not of us\n")
    assert (await reconciler(*apply, "eu")).code == 0
