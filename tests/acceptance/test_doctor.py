"""`reconciler doctor` as an init container calls it: exit codes, one JSON object, no secrets."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.network.silent import silent_server
from tests.support.polling import PATIENCE

SECRET = "s3cret"
#: A slow answer would be a warning too.
PATIENT = {"reconciler.doctor.rules.connection.SLOW": 60}


async def test_a_set_up_that_works(reconciler: Command) -> None:
    result = await replace(reconciler, limits=PATIENT)("doctor")

    assert (result.code, result.err) == (0, ""), result.out
    lines = result.out.splitlines()
    assert lines[-1] == "ok: 15 ok, 0 warnings, 0 failures, 1 not checked"
    assert sum(line.startswith("ok  ") for line in lines) == 15


async def test_one_where_neither_server_is_there(reconciler: Command) -> None:
    result = await reconciler(
        "doctor",
        "--json",
        DATABASE_URL=f"postgresql://app:{SECRET}@127.0.0.1:1/app?sslpassword={SECRET}",
        TEMPORAL_ADDRESS="127.0.0.1:1",
        TEMPORAL_GRPC_META_X_TOKEN=SECRET,
        RECONCILER_CODEC_ENDPOINT="http://127.0.0.1:1",
        RECONCILER_CODEC_HEADERS=f"Authorization: {SECRET}",
        RECONCILER_REDACT=SECRET,
    )

    assert (result.code, result.err) == (4, "")
    assert SECRET not in result.out
    assert result.json["outcome"] == "failure"
    assert result.json["counts"] == {"ok": 0, "warning": 1, "failure": 2, "skipped": 13}
    shown = {each["name"]: each["value"] for each in result.json["settings"]}
    assert shown["DATABASE_URL"] == "app@127.0.0.1:1/app?sslpassword=(hidden)"


async def test_a_worry_has_an_exit_code_of_its_own(reconciler: Command, database: Database) -> None:
    await database.execute("DROP INDEX reconciler_workflow_executions_running")

    result = await replace(reconciler, limits=PATIENT)("doctor", "--json")

    assert (result.code, result.err) == (3, "")
    assert result.json["outcome"] == "warning"


async def test_settings_that_cannot_be_read(reconciler: Command) -> None:
    result = await reconciler("doctor", "--json", RECONCILER_GRACE="soon")

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("reconciler: RECONCILER_GRACE")


async def test_it_can_be_interrupted_while_a_server_is_silent(reconciler: Command) -> None:
    async with silent_server() as silent:
        url = f"postgresql://app@127.0.0.1:{silent.port}/app"
        process = await reconciler.start("doctor", DATABASE_URL=url)
        await asyncio.wait_for(silent.connected.wait(), PATIENCE)
        process.send_signal(signal.SIGINT)
        result = await reconciler.result(process)

    assert (result.code, result.out, result.err) == (130, "", "reconciler: interrupted\n")
