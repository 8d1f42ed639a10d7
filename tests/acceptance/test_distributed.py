"""`reconciler backfill --distribute`, with workers in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from temporalio.client import Client

from reconciler.fleet.messages import WORKFLOW
from tests.conftest import Database
from tests.support.commands.command import Command, Process
from tests.support.commands.stage import Stage
from tests.support.polling import deadline
from tests.support.temporal.namespaces import new_namespace

DISTRIBUTE = ("backfill", "--distribute", "2")
APPLY = (*DISTRIBUTE, "--apply", "--yes")


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    stage = Stage(database, temporal, workflow_id)
    yield stage
    await stage.end()


@pytest.fixture
def reconciler(reconciler: Command, workflow_id: str) -> Command:
    """With a task queue of this test's own, as the tests share a server."""
    variables = {**reconciler.environment, "RECONCILER_TASK_QUEUE": workflow_id}
    return replace(
        reconciler, environment=variables, limits={"reconciler.fleet.follow.SILENCE": 0.2}
    )


@asynccontextmanager
async def working(reconciler: Command) -> AsyncIterator[Process]:
    process = await reconciler.start("worker")
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await reconciler.result(process)


async def _until_it_says(process: Process, text: bytes) -> str:
    said = b""
    assert process.stderr is not None
    async with deadline():
        while text not in said:
            said += await process.stderr.read(4096)
    return said.decode()


async def fill(stage: Stage) -> None:
    """Five closed, two open, three missing."""
    await stage.insert(await stage.closed(), 5)
    await stage.insert(await stage.start("open"), 2)
    await stage.insert_missing(3)


async def test_a_dry_run_and_then_a_backfill_say_what_one_process_would(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    alone = (await reconciler("backfill", "--json")).json
    before = await stage.contents()

    async with working(reconciler):
        dry = await reconciler(*DISTRIBUTE, "--json")
        assert await stage.contents() == before
        written = await reconciler(*APPLY, "--json")

    assert dry.code == written.code == 0, (dry.err, written.err)
    varying = dict.fromkeys(("pass_id", "started_at", "duration_seconds", "rpcs", "dry_run"))
    assert {**dry.json, **varying} == {**alone, **varying}
    assert {**written.json, **varying} == {**alone, **varying}
    assert await stage.journalled() == 5


async def test_the_command_decides_about_missing_rows_not_its_workers(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    async with working(reconciler):
        done = await reconciler(*APPLY, "--missing", "fail", "--force", "--json")

    assert done.code == 0, done.err
    assert done.json["written"]["failed"] == 8
    assert await stage.statuses() == {"failed": 8, "running": 2}


async def test_undo_reverts_all_ranges(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    before = await stage.statuses()

    async with working(reconciler):
        done = await reconciler(*APPLY, "--json")
    undone = await reconciler("undo", done.json["pass_id"], "--json")

    assert undone.code == 0, undone.err
    assert await stage.statuses() == before


async def test_without_a_worker_it_waits_and_says_so(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    process = await reconciler.start(*APPLY)
    said = await _until_it_says(process, b"no_worker")

    process.send_signal(signal.SIGINT)
    left = await reconciler.result(process)
    assert left.code == 130
    assert "reconciler worker" in said + left.err
    assert "the backfill goes on without this command" in said + left.err
    assert await stage.journalled() == 0

    async with working(reconciler):
        followed = await reconciler(*APPLY, "--json")

    assert followed.code == 0, followed.err
    assert followed.json["written"]["failed"] == 5
    assert await stage.journalled() == 5


async def test_another_request_is_refused_while_one_is_under_way_and_cancel_stops_that(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    process = await reconciler.start(*APPLY)
    await _until_it_says(process, b"no_worker")
    process.send_signal(signal.SIGINT)
    await reconciler.result(process)

    faster = await reconciler.start(*APPLY, "--max-rps", "500")
    await _until_it_says(faster, b"started with --distribute 2 --max-rps 100, and keeps that speed")
    faster.send_signal(signal.SIGINT)
    await reconciler.result(faster)
    other = await reconciler(*APPLY, "--since", "90d")
    assert other.code == 2
    assert "with other options is under way" in other.err

    async with working(reconciler):
        stopped = await reconciler("backfill", "--cancel", "--json")
        again = await reconciler("backfill", "--cancel")

    assert stopped.code == 0, stopped.err
    assert stopped.json["outcome"] in ("aborted", "ok")  # it may have come to its end before
    assert again.code == 2
    assert "no backfill on many machines is under way" in again.err


async def test_that_of_a_target_is_cancelled_by_its_name(reconciler: Command, stage: Stage) -> None:
    (reconciler.folder / "reconciler.toml").write_text(
        "[targets.a]\n[targets.b.statuses]\nrunning = 'queued'\n"
    )

    refused = await reconciler("backfill", "--cancel", "--target", "a")

    assert refused.code == 2
    assert "no backfill on many machines is under way" in refused.err


async def test_one_worker_serves_two_tables_of_a_database(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    await stage.database.execute(
        "CREATE TABLE other (LIKE workflow_executions INCLUDING ALL);"
        "INSERT INTO other SELECT * FROM workflow_executions WHERE id <= 2"
    )
    (reconciler.folder / "reconciler.toml").write_text("[targets.a]\n[targets.b]\ntable='other'\n")

    async with working(reconciler):
        both = await asyncio.gather(
            *(reconciler(*APPLY, "--json", "--target", name) for name in ("a", "b"))
        )

    assert [each.code for each in both] == [0, 0], [each.err for each in both]
    assert [each.json["written"]["failed"] for each in both] == [5, 2]
    assert await stage.statuses() == {"failed": 5, "running": 5}


async def test_its_workflow_may_run_in_another_namespace_than_those_of_the_rows(
    reconciler: Command, stage: Stage
) -> None:
    await fill(stage)
    elsewhere = await new_namespace(stage.client, "workers")
    variables = {**reconciler.environment, "RECONCILER_WORKER_NAMESPACE": elsewhere.namespace}
    reconciler = replace(reconciler, environment=variables)

    async with working(reconciler):
        done = await reconciler(*APPLY, "--json")

    assert done.code == 0, done.err
    assert done.json["written"]["failed"] == 5
    (started,) = [
        each async for each in elsewhere.list_workflows(f"RunId = '{done.json['pass_id']}'")
    ]
    assert started.workflow_type == WORKFLOW


async def test_cancel_says_what_cannot_be_used(reconciler: Command, database: Database) -> None:
    down = await reconciler("backfill", "--cancel", "--json", TEMPORAL_ADDRESS="127.0.0.1:1")
    elsewhere = await reconciler("backfill", "--cancel", RECONCILER_WORKER_NAMESPACE="gone")

    assert (down.code, down.json["outcome"]) == (elsewhere.code, "aborted") == (4, "aborted")
    assert "Temporal at 127.0.0.1:1 is unreachable" in down.err
    assert "Namespace gone is not found" in elsewhere.err
    assert elsewhere.err.count("\n") == 1


async def test_a_worker_names_the_setting_of_a_namespace_that_does_not_exist(
    reconciler: Command,
) -> None:
    of_rows = await reconciler("worker", TEMPORAL_NAMESPACE="gone")
    own = await reconciler("worker", RECONCILER_WORKER_NAMESPACE="gone")

    assert of_rows.code == own.code == 4
    assert "has no namespace 'gone': set TEMPORAL_NAMESPACE" in of_rows.err
    assert "has no namespace 'gone': check RECONCILER_WORKER_NAMESPACE" in own.err


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (("--distribute", "0"), {}, "greater than or equal to 1"),
        (("--distribute", "two"), {}, "valid integer"),
        (("--distribute", "4", "--limit", "3"), {}, "--distribute and --limit exclude each other"),
        (("--distribute", "4", "--max-rps", "3"), {}, "--max-rps is 3 for all of them"),
        (("--cancel", "--apply"), {}, "--cancel and --apply exclude each other"),
        (
            ("--distribute", "2", "--apply", "--yes"),
            {"RECONCILER_JOURNAL": "off"},
            "RECONCILER_JOURNAL is off",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused(
    reconciler: Command, arguments: tuple[str, ...], settings: dict[str, str], says: str
) -> None:
    refused = await reconciler("backfill", *arguments, **settings)

    assert refused.code == 2
    assert says in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


async def test_who_follows_sees_why_work_is_refused(reconciler: Command, stage: Stage) -> None:
    await fill(stage)
    following = await reconciler.start(*APPLY)
    variables = {**reconciler.environment, "RECONCILER_REDACT": "x+"}

    async with working(replace(reconciler, environment=variables)):
        said = await _until_it_says(following, b"work_not_done")
    async with working(reconciler):
        followed = await reconciler.result(following)

    assert "another redaction, or decoding of failures" in said
    assert followed.code == 0
