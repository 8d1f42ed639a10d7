"""Tables and servers that cannot be used: one line, the right exit code, and nothing is written."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from temporalio.client import Client

from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from tests.conftest import Database, opened, with_user
from tests.support.commands.command import Command
from tests.support.commands.daemon import HURRIED, daemon
from tests.support.commands.stage import Stage
from tests.support.polling import eventually
from tests.support.servers.standby import primary_and_replica
from tests.support.tables.past import pass_over

UNFIT = {
    "a wrong column": (
        "ALTER TABLE workflow_executions RENAME completed_at TO ended",
        "has no column completed_at: set RECONCILER_COLUMNS__COMPLETED_AT (empty: no such column)",
    ),
    "a status that is too long": (
        "ALTER TABLE workflow_executions ALTER status TYPE varchar(8)",
        "character varying(8), cannot hold 'completed' (RECONCILER_STATUSES__COMPLETED)",
    ),
    "an enum without the value": (
        """
        CREATE TYPE state AS ENUM ('running', 'failed'); DROP INDEX {index};
        ALTER TABLE workflow_executions ALTER status DROP DEFAULT,
            ALTER status TYPE state USING status::state
        """,
        "state of running, failed, cannot hold 'completed' (RECONCILER_STATUSES__COMPLETED)",
    ),
    "a view": (
        """
        ALTER TABLE workflow_executions RENAME TO rows;
        CREATE VIEW workflow_executions AS SELECT * FROM rows
        """,
        "workflow_executions is a view, not a table: set RECONCILER_TABLE to the table itself",
    ),
    "a foreign table": (
        """
        ALTER TABLE workflow_executions RENAME TO rows; CREATE FOREIGN DATA WRAPPER far;
        CREATE SERVER away FOREIGN DATA WRAPPER far;
        CREATE FOREIGN TABLE workflow_executions (id int, status text) SERVER away
        """,
        "workflow_executions is a foreign table, not a table: set RECONCILER_TABLE to the table",
    ),
    "rows that are hidden": (
        "ALTER TABLE workflow_executions ENABLE ROW LEVEL SECURITY",
        "row-level security may hide rows of workflow_executions from role {role}",
    ),
}


@pytest.mark.parametrize(("made", "message"), UNFIT.values(), ids=UNFIT.keys())
async def test_a_table_that_does_not_fit(
    reconciler: Command, database: Database, made: str, message: str
) -> None:
    role = f"app_{uuid4().hex[:8]}"
    await database.insert("wf", "r")
    indexes = [f"reconciler_workflow_executions_{each}" for each in ("running", "workflow_id")]
    await database.execute(made.format(index=", ".join(indexes)))
    await database.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA reconciler TO {role};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA public, reconciler TO {role}"
    )
    try:
        for command in ("once", "run"):
            result = await reconciler(
                command,
                DATABASE_URL=with_user(database.url, role),
                RECONCILER_HTTP_PORT="0",
                RECONCILER_LOG_LEVEL="error",
            )
            assert (result.code, result.out, result.err.count("\n")) == (4, "", 1), result.err
            assert result.err.startswith("reconciler: ")
            assert message.format(role=role) in result.err
    finally:
        await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert await database.fetch("SELECT FROM reconciler.passes") == []
    if "FOREIGN" not in made:
        rows = await database.fetch("SELECT status::text FROM workflow_executions")
        assert rows == [{"status": "running"}]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (
            ["once"],
            {"RECONCILER_COLUMNS__RUN_ID": "", "RECONCILER_COLUMNS__CREATED_AT": ""},
            "RECONCILER_COLUMNS__RUN_ID and RECONCILER_COLUMNS__CREATED_AT: one of them is needed",
        ),
        (
            ["backfill", "--since", "90d"],
            {"RECONCILER_COLUMNS__CREATED_AT": ""},
            "--since and --until go by RECONCILER_COLUMNS__CREATED_AT, which is set to none",
        ),
        (
            ["backfill", "--until", "2026-01-31"],
            {"RECONCILER_COLUMNS__CREATED_AT": ""},
            "--since and --until go by RECONCILER_COLUMNS__CREATED_AT, which is set to none",
        ),
        (["run"], {"RECONCILER_WHERE": "tenant="}, "RECONCILER_WHERE: cannot be read at the end"),
    ],
    ids=["neither run id nor creation time", "since", "until", "a filter that is empty"],
)
async def test_a_mapping_that_cannot_be(
    reconciler: Command, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    result = await reconciler(*arguments, **variables)

    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result.err
    assert message in result.err


#: What keeps rows from being written, whatever the role may do.
UNWRITABLE = {
    "a rule": "CREATE RULE r AS ON UPDATE TO workflow_executions DO ALSO NOTHING",
    "a generated column": """
        ALTER TABLE workflow_executions DROP completed_at,
            ADD completed_at timestamptz GENERATED ALWAYS AS (created_at) STORED
    """,
    "a status that is too long": "ALTER TABLE workflow_executions ALTER status TYPE varchar(8)",
}


@pytest.mark.parametrize("made", UNWRITABLE.values(), ids=UNWRITABLE.keys())
async def test_a_dry_run_promises_nothing_that_a_pass_is_refused(
    reconciler: Command, database: Database, made: str
) -> None:
    pass_id = await pass_over(database)
    await database.execute(made)

    refused = await reconciler("once")

    for arguments in (["once", "--dry-run"], ["backfill"], ["undo", pass_id, "--dry-run"]):
        result = await reconciler(*arguments)
        assert (result.code, result.out, result.err) == (4, "", refused.err), arguments


async def test_a_dry_run_before_migrate(
    reconciler: Command, database: Database, temporal: Client, workflow_id: str
) -> None:
    stage = Stage(database, temporal, workflow_id)
    await stage.insert(await stage.closed())
    await database.execute(
        "DROP SCHEMA reconciler CASCADE;"
        "ALTER TABLE workflow_executions DROP completed_at, DROP error_message"
    )
    message = "workflow_executions has no column completed_at, error_message yet"
    fix = "run `reconciler migrate`, which adds what is missing, before the first pass"

    text, as_json = [await reconciler("once", "--dry-run", *more) for more in ([], ["--json"])]

    assert text.code == 0
    assert f"\nwarning  {message}: {fix}\nok: 1 row in " in text.out
    assert as_json.json["written"] == {"completed": 0, "failed": 1}
    assert as_json.json["warnings"] == [{"code": "not_migrated", "problem": message, "fix": fix}]


async def test_a_read_replica(reconciler: Command) -> None:
    """Refused by what runs once, and waited for by the loop: after a failover it may be over."""
    async with primary_and_replica() as pair:
        await migrate(pair.primary.url, TableMapping())
        await pair.in_step()
        on_replica = {**reconciler.environment, "DATABASE_URL": pair.replica.url}
        command = replace(reconciler, environment=on_replica, limits=HURRIED)
        message = "this server is a read replica: point DATABASE_URL at the primary"
        for arguments in (["once"], ["migrate"], ["backfill", "--apply", "--yes"]):
            refused = await command(*arguments)
            assert (refused.code, refused.out, refused.err.count("\n")) == (4, "", 1)
            assert message in refused.err
        assert (await command("once", "--dry-run")).code == 0, "it may be read"
        printed = await command("migrate", "--sql", "--create-table", RECONCILER_TABLE="jobs")
        assert (printed.code, "CREATE TABLE jobs" in printed.out) == (0, True)

        async with opened(pair.replica.url) as database, daemon(command) as running:
            assert message in (await running.said("server_unusable"))["error"]
            assert await database.fetch("SELECT FROM reconciler.passes") == []
            await pair.promote()

            async def has_passed() -> bool:
                return bool(await database.fetch("SELECT FROM reconciler.passes"))

            await eventually(has_passed)
            assert await running.stop() == 0
