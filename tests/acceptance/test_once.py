"""`reconciler once`, on a table with every case in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.stage import Stage
from tests.support.commands.terminal import at_terminal
from tests.support.network.silent import silent_server
from tests.support.polling import PATIENCE, eventually
from tests.support.temporal.world import World

OLD = timedelta(days=2)
RECENT = timedelta(hours=1)
QUICK = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))


class Table:
    """The application: starts workflows and keeps a row of each."""

    def __init__(self, database: Database, client: Client, task_queue: str, prefix: str) -> None:
        self.database, self.client = database, client
        self.task_queue, self.prefix = task_queue, prefix
        self.rows: dict[str, int] = {}
        self.worlds: dict[str, World] = {}

    async def start(
        self, case: str, script: str, text: str = "no money", **options: Any
    ) -> WorkflowHandle[Any, Any]:
        world = World(self.client, self.task_queue, f"{self.prefix}/{case}")
        handle = await world.start(script, text, **options)
        self.worlds[case] = world
        await self.insert(case, handle.first_execution_run_id)
        return handle

    async def insert(
        self, case: str, run_id: str | None, *, workflow_id: str | None = None, age: timedelta = OLD
    ) -> None:
        self.rows[case] = await self.database.insert(
            f"{self.prefix}/{case}" if workflow_id is None else workflow_id,
            run_id,
            created_at=datetime.now(UTC) - age,
        )

    async def all_closed(self, *but: str) -> None:
        for case, world in self.worlds.items():
            if case in but:
                continue

            async def closed(world: World = world) -> bool:
                info = (await world.describe()).workflow_execution_info
                return info.HasField("close_time") and info.status != 6

            await eventually(closed)

    async def stored(self, case: str) -> tuple[object, object, object]:
        row = await self.database.row(self.rows[case])
        return row["status"], row["completed_at"], row["error_message"]


async def fill(table: Table) -> None:
    """One row of every case; see `expectations`."""
    await table.start("completed", "complete")
    await table.start("app", "fail")
    await table.start("activity", "fail in an activity")
    await table.start("child", "fail in a child")
    await table.start("wrapped", "fail, wrapping an activity's failure")
    await table.start("activity timeout", "time out in an activity")
    await table.start("run timeout", "wait", run_timeout=timedelta(seconds=1))
    await table.start("execution timeout", "wait", execution_timeout=timedelta(seconds=1))
    await (await table.start("terminated", "wait")).terminate(reason="ticket 42")
    await (await table.start("cancelled", "wait")).cancel(reason="customer withdrew")
    await table.start("continued", "continue once")
    await table.start("retried", "fail", retry_policy=QUICK)
    await table.start("long", "fail", "x" * 5000)
    await table.start("dirty", "fail", "line one\nline\x00two")
    reused = await table.start("reused", "fail", "first use")
    await table.start("open", "wait")
    await table.start("bug", "fail the task")
    await table.all_closed("open", "bug")
    await table.worlds["reused"].start("wait", "second use", id=reused.id)
    await table.insert("too young", None, age=timedelta())
    await table.insert("never started", None, age=RECENT)
    await table.insert("deleted", str(uuid4()), age=RECENT)
    await table.insert("expired", str(uuid4()))
    await table.insert("expired without run id", None)
    await table.insert("empty id", None, workflow_id="")
    await table.insert("long id", None, workflow_id="x" * 10_000)
    await table.insert("malformed run id", "nonsense", workflow_id=f"{table.prefix}/open")


async def expectations(table: Table) -> dict[str, tuple[object, object, object]]:
    """Status and text per case; the close time is asked of Temporal itself."""
    identity = table.client.service_client.config.identity
    exhausted = "activity charge failed (maximum attempts reached): "
    texts = {
        "completed": None,
        "app": "OrderFailed: no money",
        "activity": f"{exhausted}PaymentDeclined: no money",
        "child": f"child workflow Scripted [{table.prefix}/child/child] failed: "
        f"{exhausted}PaymentDeclined: no money",
        "wrapped": f"OrderFailed: order 17: {exhausted}PaymentDeclined: no money",
        "activity timeout": f"{exhausted}start to close timeout",
        "run timeout": "workflow run timed out",
        "execution timeout": "workflow execution timed out",
        "terminated": f"terminated by {identity}: ticket 42",
        "cancelled": "canceled: customer withdrew",
        "continued": None,
        "retried": "OrderFailed: no money",
        "long": "OrderFailed: " + "x" * 1986 + "…",
        "dirty": "OrderFailed: line one line two",
    }
    expected: dict[str, tuple[object, object, object]] = {
        case: (
            "completed" if text is None else "failed",
            await table.worlds[case].close_time(),
            text,
        )
        for case, text in texts.items()
    }
    first = await table.database.row(table.rows["reused"])
    close_time = await table.worlds["reused"].close_time(str(first["run_id"]))
    expected["reused"] = ("failed", close_time, "OrderFailed: first use")
    return expected


async def test_every_row_becomes_what_temporal_says(
    reconciler: Command, database: Database, temporal: Client, task_queue: str, workflow_id: str
) -> None:
    table = Table(database, temporal, task_queue, workflow_id)
    await fill(table)
    expected = await expectations(table)

    first = await reconciler("once", "--json")
    second = await reconciler("once", "--json")

    for case in table.rows:
        stored = await table.stored(case)
        assert stored == expected.get(case, ("running", None, None)), case
    assert first.code == 3, first.err
    report = first.json
    assert report["pass_id"]
    assert report["scanned"] == len(table.rows)
    assert report["written"] == {"completed": 2, "failed": len(expected) - 2}
    assert report["left"] == {
        "open": 2,
        "too_young": 1,
        "never_started": 1,
        "deleted": 1,
        "expired": 3,
        "no_workflow_id": 1,
        "completed": 0,
    }
    assert report["unknown"] == 1, "a malformed run id"
    assert report["outcome"] == "unresolved"
    journal = await database.fetch("SELECT * FROM reconciler.changes")
    assert len(journal) == len(expected)
    assert {str(change["pass_id"]) for change in journal} == {report["pass_id"]}

    assert second.code == 3
    assert second.json["written"] == {"completed": 0, "failed": 0}
    assert second.json["scanned"] == len(table.rows) - len(expected)
    assert await database.fetch("SELECT * FROM reconciler.changes") == journal
    for handle in table.worlds.values():
        await _terminate(handle)


async def _terminate(world: World) -> None:
    if not (await world.describe()).workflow_execution_info.HasField("close_time"):
        await world.client.get_workflow_handle(world.workflow_id).terminate()


Snapshot = Callable[[], Awaitable[list[dict[str, object]]]]


async def close_one(database: Database, world: World) -> int:
    handle = await world.start("fail", "no money")
    row = await world.ended(handle)
    return await database.insert(handle.id, row.run_id)


async def test_a_dry_run_says_what_it_would_write_and_leaves_every_byte(
    reconciler: Command, database: Database, world: World
) -> None:
    await close_one(database, world)
    everything = "SELECT xmin::text, ctid::text, * FROM workflow_executions"
    before = await database.fetch(everything)

    dry = await reconciler("once", "--dry-run", "--json")
    human = await reconciler("once", "--dry-run")

    assert dry.code == human.code == 0
    assert dry.json["dry_run"] is True
    assert dry.json["written"] == {"completed": 0, "failed": 1}
    assert "would write" in human.out
    assert "nothing was written" in human.out
    assert "row_would_finish" in human.err
    assert await database.fetch(everything) == before
    assert await database.fetch("SELECT 1 FROM reconciler.changes") == []
    assert await database.fetch("SELECT 1 FROM reconciler.passes") == []


async def test_a_dry_run_needs_no_more_than_to_read(
    reconciler: Command, empty_database: Database, world: World
) -> None:
    await empty_database.execute(
        "CREATE TABLE workflow_executions (id serial PRIMARY KEY, workflow_id text, run_id text,"
        " status text DEFAULT 'running', created_at timestamptz DEFAULT now())"
    )
    await close_one(empty_database, world)

    dry = await reconciler("once", "--dry-run", "--json", DATABASE_URL=empty_database.url)

    assert dry.code == 0, dry.err
    assert dry.json["written"]["failed"] == 1


async def test_people_get_a_table_and_logs_go_to_stderr(
    reconciler: Command, database: Database, world: World
) -> None:
    await close_one(database, world)

    result = await reconciler("once")

    assert result.code == 0
    assert "written  failed" in result.out
    assert "ok: 1 row in" in result.out
    assert "row_finished" in result.err
    assert world.workflow_id in result.err
    assert "OrderFailed: no money" in result.err


async def test_json_logs(reconciler: Command, database: Database, world: World) -> None:
    await close_one(database, world)

    result = await reconciler("once", "--json", RECONCILER_LOG_FORMAT="json")

    line, finished = map(json.loads, result.err.splitlines())
    assert line["event"] == "row_finished"
    assert (finished["event"], finished["written"]) == ("pass_finished", {"failed": 1})
    assert line["workflow_id"] == world.workflow_id
    assert line["pass_id"] == result.json["pass_id"]


async def test_nothing_to_do_is_ok(reconciler: Command) -> None:
    result = await reconciler("once", "--json")

    assert result.code == 0
    assert result.err == ""
    assert result.json["scanned"] == 0
    assert result.json["outcome"] == "ok"


class TestStopped:
    ROWS = 300

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_writes_what_it_has_decided_and_the_next_pass_does_the_rest(
        self, reconciler: Command, database: Database, world: World, number: signal.Signals
    ) -> None:
        await self.rows_of_a_workflow_that_ended(database, world)
        process = await reconciler.start(
            "once", "--json", RECONCILER_MAX_RPS="20", RECONCILER_BATCH_SIZE="10"
        )
        await eventually(lambda: self.some_are_written(database))
        process.send_signal(number)
        result = await reconciler.result(process)

        written = await self.written(database)
        assert result.code == 130
        assert result.err.splitlines()[-1] == "reconciler: interrupted"
        assert 0 < written < self.ROWS
        assert result.json["written"] == {"completed": written, "failed": 0}
        assert result.json["scanned"] == written
        assert result.json["outcome"] == "aborted"
        (kept,) = await database.fetch("SELECT outcome, error FROM reconciler.passes")
        assert kept == {"outcome": "aborted", "error": "stopped before its end"}

        rest = await reconciler("once", "--json", RECONCILER_MAX_RPS="0")
        assert rest.json["written"] == {"completed": self.ROWS - written, "failed": 0}

    @pytest.mark.parametrize("command", [["once"], ["backfill"], ["backfill", "--apply", "--yes"]])
    async def test_before_it_has_begun(self, reconciler: Command, command: list[str]) -> None:
        async with silent_server() as silent:
            process = await reconciler.start(
                *command, "--json", DATABASE_URL=f"postgresql://u@127.0.0.1:{silent.port}/d"
            )
            await asyncio.wait_for(silent.connected.wait(), PATIENCE)
            process.send_signal(signal.SIGTERM)
            result = await reconciler.result(process)

        assert (result.code, result.err) == (130, "reconciler: interrupted\n")
        assert (result.json["outcome"], result.json["scanned"]) == ("aborted", 0)

    async def test_prints_what_it_has_written(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        await self.rows_of_a_workflow_that_ended(database, world)
        process = await reconciler.start(
            "once", RECONCILER_MAX_RPS="20", RECONCILER_BATCH_SIZE="10"
        )
        await eventually(lambda: self.some_are_written(database))
        process.send_signal(signal.SIGINT)
        result = await reconciler.result(process)

        written = await self.written(database)
        assert result.code == 130
        assert f"written  completed  {written}\n" in result.out
        assert f"aborted: {written} rows" in result.out

    async def test_while_its_modules_are_loaded(self, reconciler: Command) -> None:
        process = await replace(reconciler, fresh=True).start("once", PYTHONPROFILEIMPORTTIME="1")
        assert process.stderr is not None
        await process.stderr.readuntil(b"reconciler.cli")  # the first of many
        process.send_signal(signal.SIGTERM)
        result = await reconciler.result(process)

        assert result.code == 130
        assert result.err.endswith("reconciler: interrupted\n")

    async def rows_of_a_workflow_that_ended(self, database: Database, world: World) -> None:
        row = await world.ended(await world.start("complete"))
        await database.insert_many(self.ROWS, row.workflow_id, row.run_id)

    async def some_are_written(self, database: Database) -> bool:
        return await self.written(database) > 0

    @staticmethod
    async def written(database: Database) -> int:
        rows = await database.fetch("SELECT FROM workflow_executions WHERE status = 'completed'")
        return len(rows)


async def test_the_exit_code_is_always_ours(reconciler: Command) -> None:
    """Python 3.11 aborts now and then at exit after the Temporal client was used."""
    fresh = replace(reconciler, fresh=True)

    codes = [(await fresh("once")).code for _ in range(4)]

    assert codes == [0] * 4


async def test_a_reader_that_goes_away_is_not_a_bug(reconciler: Command) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        process = await asyncio.create_subprocess_exec(
            reconciler.program,
            "once",
            "--json",
            env={**os.environ, **reconciler.environment},
            cwd=reconciler.folder,
            stdout=write,
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        os.close(write)
    _, err = await process.communicate()

    assert (process.returncode, err) == (141, b"")


async def test_missing_rows_are_failed_if_that_is_wanted(
    reconciler: Command, database: Database, world: World, workflow_id: str
) -> None:
    now = datetime.now(UTC)
    handle = await world.start("wait")
    found = await database.insert(handle.id, handle.first_execution_run_id)
    assert (await reconciler("once")).code == 0
    await database.execute("DELETE FROM workflow_executions WHERE id = $1", found)
    never = await database.insert(f"{workflow_id}/1", None, created_at=now - RECENT)
    deleted = await database.insert(f"{workflow_id}/2", str(uuid4()), created_at=now - RECENT)
    expired = await database.insert(f"{workflow_id}/3", None, created_at=now - OLD)

    result = await reconciler("once", "--json", RECONCILER_MISSING="fail")

    assert result.code == 0
    rows = [await database.row(id_) for id_ in (never, deleted, expired)]
    assert [(row["status"], row["completed_at"], row["error_message"]) for row in rows] == [
        ("failed", None, "outcome unknown: no such workflow in Temporal"),
        ("failed", None, "outcome unknown: deleted from Temporal"),
        ("failed", None, "outcome unknown: past Temporal's retention"),
    ]


async def test_no_row_is_failed_by_an_age_that_another_time_zone_may_have_shifted(
    reconciler: Command, database: Database, workflow_id: str
) -> None:
    await database.execute(
        "ALTER TABLE workflow_executions ALTER created_at DROP DEFAULT,"
        " ALTER created_at TYPE timestamp"
    )
    in_new_york = datetime.now(ZoneInfo("America/New_York")).replace(tzinfo=None)
    id_ = await database.insert(workflow_id, None, created_at=in_new_york)
    missing = {"RECONCILER_MISSING": "fail"}

    result = await reconciler("once", "--json", **missing)
    assert (result.code, result.json["left"]["too_young"]) == (0, 1)
    explained = await reconciler("explain", workflow_id, **missing)
    assert "it may be younger than RECONCILER_GRACE: its creation time has no" in explained.out
    named = {**missing, "RECONCILER_TIME_ZONE": "America/New_York"}
    result = await reconciler("once", "--json", **named)
    assert (result.code, result.json["left"]["too_young"]) == (0, 1)
    assert (await database.row(id_))["status"] == "running"

    missing["RECONCILER_MAX_MISSING_RATIO"] = "1"
    result = await reconciler("once", "--json", **missing, RECONCILER_TIME_ZONE="UTC")
    assert result.json["written"]["failed"] == 1, "the operator's word is taken"
    assert (await database.row(id_))["status"] == "failed"


@pytest.mark.parametrize("options", [("once",), ("once", "--dry-run"), ("backfill",)])
async def test_few_missing_rows_are_held_back_where_no_workflow_was_ever_found(
    reconciler: Command, database: Database, workflow_id: str, options: tuple[str, ...]
) -> None:
    id_ = await database.insert(workflow_id, None, created_at=datetime.now(UTC) - OLD)

    result = await reconciler(*options, "--json", RECONCILER_MISSING="fail")

    assert (result.code, result.json["held_back"]) == (3, 1)
    assert "no pass over this table has found a workflow in this namespace yet" in result.err
    assert (await database.row(id_))["status"] == "running"


async def test_a_namespace_that_was_created_again_is_another(
    reconciler: Command, database: Database, workflow_id: str
) -> None:
    await database.insert(workflow_id, None, created_at=datetime.now(UTC) - OLD)
    await database.execute(
        "INSERT INTO reconciler.passes"
        " (id, mode, started_at, host, version, table_name, namespace, report)"
        " VALUES (gen_random_uuid(), 'once', now(), 'h', '1', 'workflow_executions', 'default',"
        """ '{"found_in": ["8f14e45f-ceea-467a-9136-dedd4bea2543"]}')"""
    )

    result = await reconciler("once", "--json", RECONCILER_MISSING="fail")

    assert (result.code, result.json["held_back"]) == (3, 1)


async def test_the_breaker_holds_missing_rows_back(
    reconciler: Command, database: Database, workflow_id: str
) -> None:
    created = datetime.now(UTC) - OLD
    for number in range(20):
        await database.insert(f"{workflow_id}/{number}", None, created_at=created)

    result = await reconciler("once", "--json", RECONCILER_MISSING="fail")

    assert result.code == 3
    assert result.json["outcome"] == "unresolved"
    assert result.json["left"]["expired"] == 20
    assert "is this the right cluster and namespace?" in result.err
    assert await database.fetch("SELECT 1 FROM workflow_executions WHERE status <> 'running'") == []


async def test_at_a_terminal_there_is_a_bar_in_place_of_a_line_for_each_row(
    reconciler: Command, database: Database, temporal: Client, workflow_id: str
) -> None:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.closed(), 3)

    async with at_terminal(reconciler, "once") as terminal:
        assert await terminal.code() == 0

    assert "3/3 rows" in terminal.seen
    assert "row_finished" not in terminal.seen
    assert await stage.statuses() == {"failed": 3}


async def test_in_a_pipe_a_line_is_neither_folded_nor_padded(
    reconciler: Command, database: Database, temporal: Client, workflow_id: str
) -> None:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.start("open"))
    await stage.insert_missing(2)

    once = await reconciler("once", COLUMNS="40")
    explained = await reconciler("explain", f"{workflow_id}/open", COLUMNS="40")

    lines = [*once.out.splitlines(), *explained.out.splitlines()]
    assert [line for line in lines if line != line.rstrip()] == []
    assert max(map(len, lines)) > 80
    assert "leave: still open in Temporal" in explained.out
    await stage.end()
