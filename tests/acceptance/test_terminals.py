"""Commands whose standard streams are closed, full, or of another locale, as shells start them."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.conftest import Database
from tests.support.commands.command import Command, Result
from tests.support.commands.stage import Stage
from tests.support.hostile import STORABLE, unseen
from tests.support.polling import eventually


@dataclass(frozen=True)
class Shell:
    """Types commands with redirections."""

    command: Command
    database: Database

    async def __call__(self, redirected: str, *arguments: str, **environment: str) -> Result:
        process = await self.start(redirected, *arguments, **environment)
        out, err = await process.communicate()
        assert process.returncode is not None
        texts = [each.decode(errors="replace") for each in (out, err)]  # of whatever locale
        return Result(process.returncode, *texts)

    async def start(
        self, redirected: str, *arguments: str, **environment: str
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", f'exec "$0" "$@" {redirected}', str(self.command.program)),
            *arguments,
            env={"PATH": os.environ["PATH"], **self.command.environment, **environment},
            cwd=self.command.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def running(self) -> int:
        rows = await self.database.fetch("SELECT FROM workflow_executions WHERE status = 'running'")
        return len(rows)

    async def outcomes(self) -> list[object]:
        rows = await self.database.fetch("SELECT outcome FROM reconciler.passes")
        return [row["outcome"] for row in rows]


@pytest.fixture
async def shell(reconciler: Command, database: Database) -> Shell:
    return Shell(reconciler, database)


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> Stage:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.closed())
    return stage


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(
    ("arguments", "redirected", "code"),
    [
        ("once", "2>&-", 0),
        ("once", "<&- >&- 2>&-", 0),
        ("once", "2>/dev/full", 0),
        ("once", ">/dev/full", 4),
        ("once", ">/dev/full 2>/dev/full", 4),
        ("once --json", ">/dev/full", 4),
        ("backfill --apply --yes", ">/dev/full", 4),
    ],
)
async def test_a_pass_does_its_work_whatever_becomes_of_its_output(
    shell: Shell, arguments: str, redirected: str, code: int
) -> None:
    result = await shell(redirected, *arguments.split())

    assert (result.code, await shell.running(), await shell.outcomes()) == (code, 0, ["ok"])
    assert "Traceback" not in result.err
    assert "bug" not in result.err
    if redirected == ">/dev/full":
        assert result.err.splitlines()[-1] == (
            "reconciler: cannot write to stdout (No space left on device): the command has "
            "done its work, only its output is lost"
        )
    if redirected in ("2>&-", "2>/dev/full"):
        assert result.out


async def test_the_loop_goes_on_without_its_log(shell: Shell, stage: Stage) -> None:
    settings = {"RECONCILER_HTTP_PORT": "0", "RECONCILER_INTERVAL": "1s"}
    loop = await shell.start("2>/dev/full", "run", **settings)
    try:

        async def finished() -> bool:
            return await shell.running() == 0

        await eventually(finished)
        await stage.insert(await stage.closed("second"))
        await eventually(finished)
        loop.terminate()
        assert await loop.wait() == 0
    finally:
        if loop.returncode is None:
            loop.kill()
        await loop.communicate()


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=lambda environment: " ".join(map("=".join, environment.items())),
)
@pytest.mark.usefixtures("stage")
async def test_any_locale(shell: Shell, environment: dict[str, str]) -> None:
    await shell.database.execute("UPDATE workflow_executions SET workflow_type = 'größer →'")
    named = {"RECONCILER_STATUSES__FAILED": "fehlgeschlagen: ü", **environment}

    results = [
        await shell("", *arguments, **named)
        for arguments in (
            ["backfill", "--workflow-type", "größer →"],
            ["once"],
            ["changes"],
        )
    ]

    assert [result.code for result in results] == [0] * 3, [result.err for result in results]
    rows = await shell.database.fetch("SELECT status FROM workflow_executions")
    assert rows == [{"status": "fehlgeschlagen: ü"}]
    lost = "PYTHONUTF8" in environment
    assert ("running -> fehlgeschlagen: \\xfc" in results[-1].out) == lost


async def test_what_others_chose_is_only_shown(
    reconciler: Command, database: Database, temporal: Client, tmp_path: Path
) -> None:
    handle = await temporal.start_workflow("Any", id=f"w{STORABLE}", task_queue="nobody")
    await handle.terminate(f"reason {STORABLE}")
    await database.insert(handle.id, handle.first_execution_run_id, error_message=f"old {STORABLE}")

    results = [
        await reconciler(*arguments)
        for arguments in (
            ["explain", handle.id],
            ["backfill", "--output", "plan.csv"],
            ["backfill", "--output", "plan.jsonl"],
            ["once"],
            ["changes"],
            ["changes", "--json", "--workflow-id", handle.id],
            ["explain", f"no{STORABLE}"],
            [f"no{STORABLE}"],
        )
    ]

    shown = [result.out + result.err for result in results]
    shown += [(tmp_path / name).read_text() for name in ("plan.csv", "plan.jsonl")]
    assert [unseen(text) for text in shown] == [set()] * 10
    assert [result.code for result in results] == [0, 0, 0, 0, 0, 0, 3, 2]
    assert all("[red]b[/red]" in text for text in shown if "owned" in text)
    assert "error     old a\\x1b[2J" in shown[0]
    assert json.loads(results[5].out)["workflow_id"] == handle.id


async def test_statements_are_not_printed_otherwise_than_they_are(shell: Shell) -> None:
    named = {"RECONCILER_TABLE": "größer", "PYTHONIOENCODING": "ascii"}

    refused = await shell("", "migrate", "--sql", "--create-table", **named)
    unicode = named | {"PYTHONIOENCODING": "utf-8"}
    printed = await shell("", "migrate", "--sql", "--create-table", **unicode)

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "reconciler: the statements have characters that are not in ascii: set "
        "PYTHONIOENCODING=utf-8\n"
    )
    assert "CREATE TABLE" in printed.out
    assert "größer" in printed.out
