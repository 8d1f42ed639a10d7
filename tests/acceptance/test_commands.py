"""`init`, `migrate`, `explain`, `demo`, and the command from a wheel."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import psutil
import pytest

from tests.acceptance.test_refusals import assert_refused
from tests.conftest import Database, with_user
from tests.support.commands.command import RECONCILER, Command
from tests.support.commands.terminal import at_terminal
from tests.support.polling import deadline, eventually
from tests.support.servers.leftovers import mark
from tests.support.temporal.world import World

ROOT = Path(__file__).parents[2]


class TestInit:
    async def test_what_it_writes_serves_the_next_command(
        self, reconciler: Command, database: Database, world: World, tmp_path: Path
    ) -> None:
        await database.execute("ALTER TABLE workflow_executions RENAME TO jobs")
        row = await world.ended(await world.start("fail", "no money"))
        insert = "INSERT INTO jobs (workflow_id, run_id) VALUES ($1, $2)"
        await database.execute(insert, row.workflow_id, row.run_id)
        parts = urlsplit(database.url)
        user, _, host = parts.netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:s3cret@{host}"

        url = urlunsplit(parts._replace(netloc=netloc))
        written = await reconciler("init", DATABASE_URL=url)
        dry = await reconciler("once", "--dry-run", "--json")

        text = (tmp_path / "reconciler.toml").read_text()
        assert (written.code, written.err) == (0, "")
        assert written.out.startswith("reconciler.toml is for table jobs: check every line")
        assert 'table = "jobs"' in text
        assert "# Temporal answered: namespace default" in text
        assert "s3cret" not in text
        assert "://" not in text
        assert dry.json["written"]["failed"] == 1

    async def test_serves_a_table_without_a_column_of_workflow_ids(
        self, reconciler: Command, database: Database, world: World, tmp_path: Path
    ) -> None:
        await database.execute(
            "CREATE TABLE sync_job (id text PRIMARY KEY, status text,"
            " created_at timestamp DEFAULT timezone('Asia/Tokyo', now()), modified_at timestamp)"
        )
        row = await world.ended(await world.start("fail", "no money"))
        start, key = row.workflow_id[:1], row.workflow_id[1:]
        await database.execute(
            "INSERT INTO sync_job VALUES"
            " ($1, 'running', timezone('Asia/Tokyo', now() - interval '5 min'))",
            key,
        )

        asked = await reconciler("init", "sync_job")
        written = await reconciler("init", "sync_job", "--workflow-id", start + "{id}")
        dry = await reconciler("once", "--dry-run", "--json", RECONCILER_GRACE="0")

        text = (tmp_path / "reconciler.toml").read_text()
        assert_refused(
            asked,
            2,
            "sync_job has no column like workflow_id: name it with --workflow-id, or say how ids "
            "are composed: reconciler init sync_job --workflow-id 'job-{id}'",
        )
        assert written.code == 0, written.err
        assert 'time_zone = "Asia/Tokyo"' in text
        assert 'updated_at = "modified_at"  # no trigger sets it' in text
        assert dry.json["written"]["failed"] == 1

    @pytest.mark.parametrize("there", ["file", "dangling link"])
    async def test_nothing_is_overwritten(
        self, reconciler: Command, tmp_path: Path, there: str
    ) -> None:
        path = tmp_path / "jobs.toml"
        if there == "file":
            path.write_text("mine")
        else:
            path.symlink_to(tmp_path / "gone")

        result = await reconciler("init", "--output", "jobs.toml")

        assert_refused(result, 2, "jobs.toml already exists: name another file with --output")
        assert there != "file" or path.read_text() == "mine"
        assert not (tmp_path / "gone").exists()

    async def test_a_folder_that_is_not_there(self, reconciler: Command) -> None:
        result = await reconciler("init", "--output", "no/jobs.toml")

        assert_refused(result, 2, "no/jobs.toml cannot be written: No such file or directory")


class TestMigrate:
    async def test_says_what_it_did_and_can_be_repeated(
        self, reconciler: Command, empty_database: Database
    ) -> None:
        first = await reconciler("migrate", DATABASE_URL=empty_database.url)
        second = await reconciler("migrate", DATABASE_URL=empty_database.url)

        assert (first.code, first.err) == (0, "")
        assert "table workflow_executions: created\n" in first.out
        assert (second.code, second.out) == (0, "nothing to do: up to date\n")

    async def test_needs_no_temporal(self, empty_database: Database, tmp_path: Path) -> None:
        result = await Command({"DATABASE_URL": empty_database.url}, tmp_path)("migrate")

        assert result.code == 0, result.err

    async def test_sql_prints_and_changes_nothing(
        self, reconciler: Command, empty_database: Database
    ) -> None:
        result = await reconciler("migrate", "--sql", DATABASE_URL=empty_database.url)

        assert (result.code, result.err) == (0, "")
        assert "CREATE TABLE workflow_executions" in result.out
        assert "CREATE INDEX CONCURRENTLY" in result.out
        tables = "SELECT 1 FROM pg_tables WHERE tablename IN ('passes', 'workflow_executions')"
        assert await empty_database.fetch(tables) == []

    async def test_remove_shows_what_it_would_drop_and_asks(
        self, reconciler: Command, database: Database
    ) -> None:
        shown = await reconciler("migrate", "--remove")
        printed = await reconciler("migrate", "--remove", "--sql")
        async with at_terminal(reconciler, "migrate", "--remove") as terminal:
            await terminal.prints("Drop this? [y/N]")
            terminal.type("n\n")
            assert await terminal.code() == 0
        there = "SELECT to_regclass('reconciler.changes') IS NOT NULL AS there"

        assert (shown.code, printed.code) == (0, 0)
        first, *_ = shown.out.splitlines()
        assert first == "drops the indexes on the running rows of workflow_executions"
        assert shown.err == "reconciler: nothing was dropped: --yes drops it\n"
        assert "DROP SCHEMA reconciler;\n" in printed.out
        assert await database.fetch(there) == [{"there": True}]

        async with at_terminal(reconciler, "migrate", "--remove") as terminal:
            await terminal.prints("Drop this? [y/N]")
            terminal.type("y\n")
            assert await terminal.code() == 0
        assert await database.fetch(there) == [{"there": False}]

    async def test_remove_with_yes_does_not_ask(
        self, reconciler: Command, database: Database
    ) -> None:
        first = await reconciler("migrate", "--remove", "--yes")
        second = await reconciler("migrate", "--remove", "--yes")

        assert (first.code, first.out.splitlines()[-1]) == (0, "dropped")
        assert (second.code, second.out) == (0, "nothing to remove\n")

    @pytest.mark.parametrize("option", ["--drop-columns", "--yes"])
    async def test_options_of_a_removal_need_one(self, reconciler: Command, option: str) -> None:
        assert_refused(await reconciler("migrate", option), 2, f"{option} needs --remove")

    async def test_without_the_right_to_create(
        self, reconciler: Command, empty_database: Database
    ) -> None:
        await empty_database.execute("CREATE ROLE stranger LOGIN")
        url = with_user(empty_database.url, "stranger")
        try:
            result = await reconciler("migrate", DATABASE_URL=url)
        finally:
            await empty_database.execute("DROP ROLE stranger")

        assert result.code == 4
        assert result.err.startswith(
            "reconciler: role stranger may not create schema reconciler: GRA"
        )
        assert result.err.count("\n") == 1


class TestExplain:
    async def test_a_row_to_be_finished(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = await world.ended(await world.start("fail", "no money"))
        id_ = await database.insert(world.workflow_id, row.run_id)

        result = await reconciler("explain", world.workflow_id)

        assert result.code == 0
        assert "running" in result.out
        assert "FAILED at " in result.out
        assert "OrderFailed: no money" in result.out
        assert "finish as 'failed'" in result.out
        assert (await database.row(id_))["status"] == "running"

    async def test_the_text_is_that_which_a_pass_would_write(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = await world.ended(await world.start("fail", "[bold]no\x1b[31m\n money " + "m" * 99))
        limit = {"RECONCILER_ERROR_MESSAGE_LIMIT": "60", "COLUMNS": "300"}

        unmatched = await reconciler("explain", world.workflow_id, **limit)
        id_ = await database.insert(world.workflow_id, row.run_id)
        explained = await reconciler("explain", world.workflow_id, **limit)
        await reconciler("once", **limit)

        written = str((await database.row(id_))["error_message"])
        assert written.startswith("OrderFailed: [bold]no [31m money mm")
        assert f": {written}\n" in explained.out
        assert f": {written}\n" in unmatched.err

    async def test_a_row_that_is_open(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = world.row(await world.start("wait"))
        await database.insert(world.workflow_id, row.run_id)

        result = await reconciler("explain", world.workflow_id)

        assert result.code == 0
        assert "open (RUNNING)" in result.out
        assert "leave: still open in Temporal" in result.out

    async def test_a_row_that_is_finished(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = await world.ended(await world.start("complete"))
        await database.insert(world.workflow_id, row.run_id, status="cancelled by user")

        result = await reconciler("explain", world.workflow_id)

        assert result.code == 0
        assert "cancelled by user" in result.out
        assert "changed by  the workflow or the application: the journal has no pass" in result.out
        assert "not marked as running" in result.out
        assert "(cancelled by user in the row, completed in Temporal)" in result.out

    async def test_a_row_that_failed_and_whose_workflow_runs_again(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        handle = await world.start("wait")
        await database.insert(world.workflow_id, handle.first_execution_run_id, status="failed")

        result = await reconciler("explain", world.workflow_id)

        assert result.code == 0
        assert "no pass looks at it (failed in the row, open in Temporal)" in result.out

    async def test_who_has_finished_a_row(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = await world.ended(await world.start("fail", "no money"))
        id_ = await database.insert(world.workflow_id, row.run_id)
        passed = await reconciler("once", "--json")

        finished = await reconciler("explain", world.workflow_id)
        await database.execute("UPDATE workflow_executions SET status = 'x' WHERE id = $1", id_)
        changed = await reconciler("explain", world.workflow_id)

        message = (
            rf"changed by +pass {passed.json['pass_id']} at 20[-\dT:]{{17}}Z, running → failed\n"
        )
        assert re.search(message, finished.out)
        assert "running → failed, and by others since\n" in changed.out

    async def test_a_row_that_is_left_out(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = world.row(await world.start("wait"))
        await database.insert(world.workflow_id, row.run_id)
        where = {"RECONCILER_WHERE": "workflow_type=Order"}

        result = await reconciler("explain", world.workflow_id, **where)

        assert "none: RECONCILER_WHERE leaves this row out" in result.out

    async def test_a_run_that_has_ended_just_now_is_not_called_missing(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        await world.ended(await world.start("fail", "no money"))
        await database.insert(world.workflow_id)

        result = await reconciler("explain", world.workflow_id)

        assert "FAILED at " in result.out
        assert "leave: younger than RECONCILER_GRACE, its run id may still be on" in result.out
        assert "not in Temporal" not in result.out

    async def test_json_is_one_object(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        row = await world.ended(await world.start("fail", "no money"))
        id_ = await database.insert(world.workflow_id, row.run_id)
        before = await reconciler("explain", world.workflow_id, "--json")
        passed = await reconciler("once", "--json")
        after = await reconciler("explain", world.workflow_id, "--json")
        none = await reconciler("explain", "nobody", "--json")

        (running,), (finished,) = before.json["rows"], after.json["rows"]
        assert (running["row_id"], running["running"], running["changed_by"]) == (
            str(id_),
            True,
            None,
        )
        assert running["temporal"]["status"] == "FAILED"
        assert running["temporal"]["failure"] == "OrderFailed: no money"
        assert (running["verdict"]["action"], running["verdict"]["status"]) == ("finish", "failed")
        assert (finished["running"], finished["verdict"]["action"]) == (False, "none")
        assert finished["completed_at"] == finished["temporal"]["close_time"]
        assert finished["changed_by"]["pass_id"] == passed.json["pass_id"]
        assert finished["changed_by"]["old_status"] == "running"
        assert (none.code, none.json["rows"]) == (3, [])
        assert none.json["temporal"]["state"] == "missing"

    async def test_the_journal_is_not_needed(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        await world.ended(await world.start("complete"))
        await database.insert(world.workflow_id, status="completed")
        await database.execute("DROP SCHEMA reconciler CASCADE")

        without = await reconciler("explain", world.workflow_id)
        off = await reconciler("explain", world.workflow_id, RECONCILER_JOURNAL="off")

        assert (without.code, off.code) == (0, 0)
        assert "changed by  unknown: schema reconciler does not exist" in without.out
        assert "changed by  unknown: RECONCILER_JOURNAL is off" in off.out

    async def test_every_row_of_the_id(self, reconciler: Command, database: Database) -> None:
        old = datetime.now(UTC) - timedelta(days=9)
        for _ in range(2):
            await database.insert("gone", str(uuid4()), created_at=old)

        result = await reconciler("explain", "gone")

        assert result.out.count("leave: expired: not in Temporal, and older") == 2

    async def test_an_id_without_a_row(self, reconciler: Command) -> None:
        result = await reconciler("explain", "nobody")

        assert (result.code, result.out) == (3, "")
        assert result.err == (
            "reconciler: workflow_executions has no row of workflow nobody; "
            "Temporal: not found: no such workflow\n"
        )

    async def test_an_empty_id(self, reconciler: Command) -> None:
        result = await reconciler("explain", "")

        assert (result.code, result.out) == (2, "")
        assert "WORKFLOW_ID is empty: name a workflow" in result.err

    async def test_before_the_first_migration(
        self, reconciler: Command, empty_database: Database, world: World
    ) -> None:
        await empty_database.execute(
            "CREATE TABLE workflow_executions (id serial PRIMARY KEY, workflow_id text,"
            " run_id text, status text DEFAULT 'running', created_at timestamptz DEFAULT now())"
        )
        row = world.row(await world.start("wait"))
        await empty_database.insert(world.workflow_id, row.run_id)

        result = await reconciler("explain", world.workflow_id, DATABASE_URL=empty_database.url)

        assert result.code == 0, result.err


@pytest.fixture
def temporary_folder() -> Iterator[Path]:
    """For the files of one command alone; short, since there are sockets among them."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        # PostgreSQL does not run as root: its own user has to get through.
        Path(folder).chmod(0o755)
        yield Path(folder)


def leftovers(folder: Path) -> set[str]:
    """Processes that a command with this TMPDIR may have left, and files."""
    processes = {f"{p.name()} {p.pid}" for p in psutil.process_iter() if belongs_to(p, folder)}
    return processes | {str(path) for path in folder.glob("reconciler-*")}


def belongs_to(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("TMPDIR") == str(folder)
    except psutil.Error:  # gone by now, or somebody else's
        return False


@pytest.mark.long
class TestDemo:
    async def test_ends_by_itself_whatever_is_set_around_it_and_leaves_nothing_behind(
        self, tmp_path: Path, temporary_folder: Path
    ) -> None:
        # Nor do settings around it disturb it.
        around = {
            "DATABASE_URL": "postgresql://u@127.0.0.1:1/theirs",
            "TEMPORAL_ADDRESS": "127.0.0.1:1",
            "TEMPORAL_NAMESPACE": "theirs",
            "RECONCILER_TABLE": "theirs",
            "TMPDIR": str(temporary_folder),
        }

        result = await Command(around, tmp_path, fresh=True)("demo")

        assert result.code == 0, result.err
        assert result.err == ""
        assert "written  completed  2" in result.out
        assert "failed     5" in result.out
        assert "None of the workflows writes its outcome into its row.\n" in result.out
        for text in (
            "activity create_zone failed (maximum attempts reached): QuotaExceeded: zone limit",
            "child workflow ProvisionDns [tenant-umbrella/dns] failed: activity create_zone failed",
            "ticket 42",
            "canceled: customer withdrew",
            "workflow execution timed out",
        ):
            assert text in " ".join(result.out.split())
        assert leftovers(temporary_folder) == set()
        assert list(tmp_path.iterdir()) == []

    async def test_runs_the_loop_beside_traffic_until_it_is_stopped(
        self, tmp_path: Path, temporary_folder: Path
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            RECONCILER,
            "demo",
            "--keep",
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONUNBUFFERED": "1",
                "RECONCILER_TABLE": "theirs",
                "TMPDIR": str(temporary_folder),
                **mark(),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            page, ui, exports = await _addresses(process)
            assert (await _status(page, ""), await _status(ui, "")) == (200, 200)
            # Its worker has no plugin.
            repaired = "SELECT count(*) FROM reconciler.changes WHERE workflow_id = 'invoice-0001'"
            await _wait_for(exports["DATABASE_URL"], repaired, 1)
            # Without NoWorker, which takes two minutes.
            stuck = (
                "SELECT string_agg(DISTINCT reason, ' ' ORDER BY reason) FROM reconciler.stuck"
                " WHERE reason <> 'NoWorker'"
            )
            reasons = "ActivityRetrying Paused WaitingForChild WorkflowTaskFailing"
            await _wait_for(exports["DATABASE_URL"], stuck, reasons)
            process.send_signal(signal.SIGTERM)
            async with deadline():
                out, err = await process.communicate()
            assert (process.returncode, err) == (130, b"reconciler: interrupted\n"), out
        finally:
            if process.returncode is None:
                process.kill()

        async def nothing_left() -> bool:
            return leftovers(temporary_folder) == set()

        await eventually(nothing_left)
        assert list(tmp_path.iterdir()) == []


async def _addresses(process: asyncio.subprocess.Process) -> tuple[str, str, dict[str, str]]:
    """Where the demo says that the page and Temporal's UI are, and the variables to set."""
    assert process.stdout is not None
    urls: list[str] = []
    exports: dict[str, str] = {}
    async with deadline():
        while len(exports) < 2:
            line = (await process.stdout.readline()).decode().strip()
            urls += re.findall(r"http://\S+", line)
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                exports[name] = value.strip("'")
    page, ui = urls
    return page, ui, exports


async def _status(url: str, path: str) -> int:
    answer = await asyncio.to_thread(urllib.request.urlopen, url + path, timeout=60)
    with answer:
        return int(answer.status)


async def _wait_for(database_url: str, query: str, value: object) -> None:
    """Wait until a query returns this value."""
    connection = await asyncpg.connect(database_url)

    async def holds() -> bool:
        return bool(await connection.fetchval(query) == value)

    try:
        await eventually(holds)
    finally:
        await connection.close()


class TestWheel:
    @pytest.mark.long
    async def test_an_installed_wheel_migrates(
        self, empty_database: Database, tmp_path: Path
    ) -> None:
        """Everything the command needs is in the wheel: `alembic`, and the files of the page."""
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        installed = tmp_path / "installed"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-index",
                "--disable-pip-version-check",
                "--target",
                str(installed),
                str(wheel),
            ],
            check=True,
            capture_output=True,
        )
        # Imported from there and not from the checkout: -P keeps the current folder out.
        script = tmp_path / "reconciler"
        script.write_text(
            f"#!{sys.executable} -P\nimport sys\nsys.path.insert(0, {str(installed)!r})\n"
            "import reconciler\n"
            f"assert reconciler.__file__.startswith({str(installed)!r})\n"
            "from reconciler.__main__ import main\nmain()\n"
        )
        script.chmod(0o755)
        command = Command({"DATABASE_URL": empty_database.url}, tmp_path, script)

        result = await command("migrate")

        assert result.code == 0, result.err
        assert "table workflow_executions: created" in result.out
        page = Path("reconciler/web/page")
        for folder in ("templates", "static"):
            files = {each.name for each in (ROOT / page / folder).iterdir()}
            assert {each.name for each in (installed / page / folder).iterdir()} == files
