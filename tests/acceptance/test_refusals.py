"""Bad input: one line on stderr that says how to fix it, the right exit code, nothing written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Database, with_user
from tests.support.commands.command import Command, Result
from tests.support.crossed import crossed
from tests.support.network.certificates import Authority
from tests.support.network.silent import silent_server
from tests.support.network.tls import tls_proxy
from tests.support.servers.lending import with_database

SECRET = "s3cret"
#: Of limits that `unit/test_time_limits.py` knows.
IMPATIENT = {
    "reconciler.postgres.connection.engine.CONNECT_TIMEOUT": 1,
    "reconciler.temporal.client.connect.CONNECT_TIMEOUT": 1,
}


def assert_refused(result: Result, code: int, *message: str) -> None:
    assert result.code == code, result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("reconciler: ")
    for words in message:
        assert words in result.err
    assert SECRET not in result.err


MISCONFIGURED = [
    pytest.param({"DATABASE_URL": ""}, "DATABASE_URL: must look like", id="empty url"),
    pytest.param(
        {"DATABASE_URL": f"mysql://u:{SECRET}@h/db"}, "DATABASE_URL: is a URL of my", id="not ours"
    ),
    pytest.param({"RECONCILER_BATCH": "1"}, "RECONCILER_BATCH (environment)", id="unknown"),
    pytest.param({"RECONCILER_GRACE": "soon"}, "RECONCILER_GRACE: must be", id="invalid"),
]


@pytest.mark.parametrize(
    ("variables", "message", "command"),
    crossed(MISCONFIGURED, [["once"], ["migrate"], ["explain", "wf"]]),
)
async def test_configuration(
    reconciler: Command, command: list[str], variables: dict[str, str], message: str
) -> None:
    result = await reconciler(*command, **variables)

    assert_refused(result, 2, message)
    assert result.out == ""


@pytest.mark.parametrize("written", [False, True], ids=["missing", "wrong"])
async def test_a_file_of_settings_that_is_named(
    reconciler: Command, tmp_path: Path, written: bool
) -> None:
    if written:
        (tmp_path / "jobs.toml").write_text('table = ""\n')

    result = await reconciler("--config", "jobs.toml", "once")

    why = "jobs.toml: table: must be table or" if written else "jobs.toml cannot be read: No such"
    assert_refused(result, 2, why)


async def test_no_settings_at_all(tmp_path: Path) -> None:
    assert_refused(await Command({}, tmp_path)("once"), 2, "DATABASE_URL is not set")


async def test_no_temporal_address(database: Database, tmp_path: Path) -> None:
    result = await Command({"DATABASE_URL": database.url}, tmp_path)("once")

    assert_refused(result, 2, "TEMPORAL_ADDRESS is not set")


async def test_a_profile_that_is_not_there(reconciler: Command) -> None:
    assert_refused(await reconciler("once", TEMPORAL_PROFILE="prod"), 2, "Profile 'prod' not found")


async def test_a_proxy_that_is_not_there(reconciler: Command) -> None:
    proxy = f"http://user:{SECRET}@127.0.0.1:1"

    result = await reconciler("once", RECONCILER_TEMPORAL_PROXY=proxy)

    assert_refused(result, 4, "the proxy at 127.0.0.1:1 is unreachable (Connection refused")


async def test_a_loop_does_not_wait_for_a_certificate_to_be_trusted(
    reconciler: Command, temporal_address: str, tmp_path: Path
) -> None:
    here = Authority(tmp_path).issue("127.0.0.1")
    async with tls_proxy(temporal_address, here) as address:
        result = await reconciler(
            "run",
            TEMPORAL_ADDRESS=address,
            TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(Authority(tmp_path, "stranger").root),
            RECONCILER_HTTP_PORT="0",
            RECONCILER_LOG_LEVEL="error",
        )

    error = f"no TLS with Temporal at {address} (InvalidCertificate(UnknownIssuer)): check"
    assert_refused(result, 4, error, "TEMPORAL_TLS*")


UNUSABLE = [
    pytest.param(
        {"DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/db"},
        ["database is unreachable", "check DATABASE_URL"],
        id="database refused",
    ),
    pytest.param(
        {"TEMPORAL_ADDRESS": "127.0.0.1:1"},
        ["Temporal at 127.0.0.1:1 is unreachable", "check TEMPORAL_ADDRESS"],
        id="Temporal refused",
    ),
    pytest.param(
        {"TEMPORAL_NAMESPACE": "nowhere"},
        ["no namespace 'nowhere'", "set TEMPORAL_NAMESPACE"],
        id="no such namespace",
    ),
    pytest.param(
        {"RECONCILER_TABLE": "orders"},
        ["no table orders", "RECONCILER_TABLE", "reconciler migrate"],
        id="no such table",
    ),
    pytest.param(
        {"RECONCILER_COLUMNS__RUN_ID": "first_run"},
        ["has no column first_run", "RECONCILER_COLUMNS__"],
        id="no such column",
    ),
]


@pytest.mark.parametrize(
    ("variables", "message", "json"),
    crossed(UNUSABLE, [pytest.param([], id="table"), pytest.param(["--json"], id="json")]),
)
async def test_unusable(
    reconciler: Command,
    database: Database,
    variables: dict[str, str],
    message: list[str],
    json: list[str],
) -> None:
    row = await database.insert("wf", None)

    result = await reconciler("once", *json, **variables)

    assert_refused(result, 4, *message)
    if json:
        assert result.json["outcome"] == "aborted"
        assert result.json["scanned"] == 0
    else:
        assert result.out == ""
    assert (await database.row(row))["status"] == "running"


async def test_no_such_database(reconciler: Command, database: Database) -> None:
    result = await reconciler("once", DATABASE_URL=with_database(database.url, "nowhere"))

    assert_refused(result, 4, '"nowhere" does not exist', "check DATABASE_URL")


async def test_a_database_that_was_never_migrated(
    reconciler: Command, empty_database: Database
) -> None:
    result = await reconciler("once", DATABASE_URL=empty_database.url)

    assert_refused(result, 4, "no table workflow_executions", "reconciler migrate")


@pytest.mark.parametrize("side", ["TEMPORAL_ADDRESS", "DATABASE_URL"])
async def test_a_silent_peer_does_not_hang_it(reconciler: Command, side: str) -> None:
    async with silent_server() as silent:
        address = f"127.0.0.1:{silent.port}"
        url = f"postgresql://u:{SECRET}@{address}/db"
        value = address if side == "TEMPORAL_ADDRESS" else url
        result = await replace(reconciler, limits=IMPATIENT)("once", **{side: value})

    assert_refused(result, 4, "did not answer", side)


async def test_a_role_that_may_not_update(reconciler: Command, database: Database) -> None:
    await database.insert("wf", None, created_at=datetime.now(UTC))
    await database.execute("CREATE ROLE looker LOGIN")
    try:
        await database.execute("GRANT SELECT ON workflow_executions TO looker")
        url = with_user(database.url, "looker")
        result = await reconciler("once", DATABASE_URL=url)
        dry = await reconciler("once", "--dry-run", DATABASE_URL=url)
    finally:
        await database.execute("DROP OWNED BY looker")
        await database.execute("DROP ROLE looker")

    assert_refused(result, 4, "role looker may not use table workflow_executions: GRANT UPDATE (")
    assert dry.code == 0


async def test_a_dotenv_with_a_typo(reconciler: Command) -> None:
    (reconciler.folder / ".env").write_text("RECONCILER_TABEL=jobs\n")

    assert_refused(
        await reconciler("once"),
        2,
        "RECONCILER_TABEL (.env): there is no such setting, did you mean RECONCILER_TABLE?",
    )
