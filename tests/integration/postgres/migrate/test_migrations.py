"""`migrate`: what it makes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.core.policy import StatusValues
from reconciler.postgres.migrate.upgrade import alembic_config, migrate, migration_sql
from reconciler.postgres.schema import METADATA, OWN_SCHEMA
from reconciler.postgres.table.names import TableMapping, TableNames, index_name
from reconciler.settings.where import read_where
from tests.conftest import Database, with_user
from tests.integration.postgres.migrate.test_running_index import variant
from tests.support.polling import deadline, eventually
from tests.support.tables.past import change
from tests.support.tables.scripts import run_script

MAPPING = TableMapping()
JOBS = TableMapping(TableNames(table="jobs"))
EXISTING = """
    CREATE TABLE workflow_executions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), workflow_id text NOT NULL, run_id text,
        status varchar(20) NOT NULL, created_at timestamp NOT NULL DEFAULT now(), {extra}
        tenant text
    )
"""
#: The columns that `migrate` does not add.
NEEDED = "id int PRIMARY KEY, workflow_id text, run_id text, status text, created_at timestamptz"
COLUMNS = """
    SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_name = 'workflow_executions' ORDER BY ordinal_position
"""
INDEX = "SELECT indexdef FROM pg_indexes WHERE indexname = 'reconciler_workflow_executions_running'"


def running(*values: str) -> TableMapping:
    return TableMapping(statuses=StatusValues(running=values))


async def up(database: Database, mapping: TableMapping = MAPPING) -> list[str]:
    return await migrate(database.url, mapping)


async def alembic(act: Callable[..., Any], database: Database, revision: str) -> None:
    await asyncio.to_thread(act, alembic_config(database.url, MAPPING), revision)


async def test_makes_the_default_table_where_there_is_none(empty_database: Database) -> None:
    assert await up(empty_database) == [
        "schema reconciler: from nothing to 0007",
        "table workflow_executions: created",
        "table workflow_executions: built index reconciler_workflow_executions_running",
        "table workflow_executions: built index reconciler_workflow_executions_workflow_id",
    ]

    assert [tuple(column.values()) for column in await empty_database.fetch(COLUMNS)] == [
        ("id", "bigint", "NO", None),
        ("workflow_id", "text", "NO", None),
        ("run_id", "text", "YES", None),
        ("workflow_type", "text", "YES", None),
        ("status", "text", "NO", "'running'::text"),
        ("created_at", "timestamp with time zone", "NO", "now()"),
        ("completed_at", "timestamp with time zone", "YES", None),
        ("error_message", "text", "YES", None),
    ]
    (index,) = await empty_database.fetch(INDEX)
    assert "(id) WHERE (status = 'running'::text)" in str(index["indexdef"])
    indexes = await empty_database.fetch(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'workflow_executions'"
    )
    assert any("USING btree (workflow_id)" in str(each["indexdef"]) for each in indexes)


async def test_a_new_row_has_the_first_of_several_running_values(database: Database) -> None:
    jobs = TableMapping(
        TableNames(table="jobs", run_id=None, namespace="space"),
        StatusValues(running=("pending", "running")),
    )
    await migrate(database.url, jobs, create_table=True)

    await database.execute("INSERT INTO jobs (workflow_id) VALUES ('wf')")

    (row,) = await database.fetch("SELECT * FROM jobs")
    assert row["status"] == "pending"
    assert row.keys() == {
        *("id", "workflow_id", "workflow_type", "space", "status"),
        *("created_at", "completed_at", "error_message"),
    }


async def test_our_tables_are_those_of_the_metadata(database: Database) -> None:
    def differences(connection: Any) -> list[Any]:
        options = {
            "version_table_schema": OWN_SCHEMA,
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == OWN_SCHEMA,
        }
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
        )

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_journal_of_before_the_feed_is_kept(empty_database: Database) -> None:
    await alembic(command.upgrade, empty_database, "0005")
    pass_id = uuid4()
    await empty_database.execute(
        "INSERT INTO reconciler.passes (id, mode, started_at, host, version)"
        " VALUES ($1, 'run', now(), 'h', '1')",
        pass_id,
    )
    await change(empty_database, str(pass_id), 2)

    assert await up(empty_database) == ["schema reconciler: from 0005 to 0007"]

    rows = await empty_database.fetch(
        "SELECT pass_id, found_by, workflow_type AS type FROM reconciler.changes"
    )
    assert [tuple(row.values()) for row in rows] == [(pass_id, None, None)] * 2
    for table in ("closings", "stuck", "at_risk"):
        assert await empty_database.fetch(f"SELECT 1 FROM reconciler.{table}") == []


async def test_is_safe_to_repeat(database: Database) -> None:
    assert await up(database) == []


async def test_several_at_once_do_not_get_in_each_others_way(empty_database: Database) -> None:
    async with deadline():
        done = await asyncio.gather(*(up(empty_database) for _ in range(3)))

    assert len(await empty_database.fetch(INDEX)) == 1
    assert any("table workflow_executions: created" in lines for lines in done)
    assert await up(empty_database) == []


async def test_adds_to_an_existing_table_only_what_is_missing(empty_database: Database) -> None:
    await empty_database.execute(EXISTING.format(extra="error_message varchar(80),"))
    await empty_database.execute(
        "INSERT INTO workflow_executions (workflow_id, status, tenant)"
        " VALUES ('wf', 'running', 't')"
    )
    columns = await empty_database.fetch(COLUMNS)
    rows = await empty_database.fetch("SELECT * FROM workflow_executions")

    done = await up(empty_database)

    assert done[1:] == [
        "table workflow_executions: added column completed_at",
        "table workflow_executions: built index reconciler_workflow_executions_running",
        "table workflow_executions: built index reconciler_workflow_executions_workflow_id",
    ]
    assert (await empty_database.fetch(COLUMNS))[:-1] == columns
    assert await empty_database.fetch("SELECT * FROM workflow_executions") == [
        {**rows[0], "completed_at": None}
    ]


async def test_a_database_that_a_later_version_has_migrated_is_left_alone(
    database: Database,
) -> None:
    await database.execute("UPDATE reconciler.alembic_version SET version_num = '0999'")
    known = "knows none after 0007: run the version that migrated it, or a newer one"

    with pytest.raises(DatabaseUnfit, match=known):
        await migrate(database.url, TableMapping())
    with pytest.raises(DatabaseUnfit, match=known):
        await migration_sql(database.url, TableMapping(), io.StringIO())


async def test_alembics_own_command_does_the_same(
    empty_database: Database, database: Database
) -> None:
    await alembic(command.upgrade, empty_database, "head")

    for query in (COLUMNS, INDEX):
        assert await empty_database.fetch(query) == await database.fetch(query)


async def test_a_table_named_later_is_fitted_too(database: Database) -> None:
    await database.execute(f"CREATE TABLE jobs ({NEEDED})")

    done = await up(database, JOBS)

    assert done == [
        "table jobs: added column completed_at",
        "table jobs: added column error_message",
        "table jobs: built index reconciler_jobs_running",
        "table jobs: built index reconciler_jobs_workflow_id",
    ]


async def test_an_index_whose_building_failed_is_built_again(database: Database) -> None:
    await database.execute(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'reconciler_workflow_executions_running'::regclass"
    )

    assert await up(database) == [
        "table workflow_executions: built index reconciler_workflow_executions_running"
    ]
    (state,) = await database.fetch(
        "SELECT indisvalid FROM pg_index"
        " WHERE indexrelid = 'reconciler_workflow_executions_running'::regclass"
    )
    assert state == {"indisvalid": True}


async def test_the_index_is_built_beside_a_writing_application(empty_database: Database) -> None:
    await empty_database.execute(
        EXISTING.format(extra="completed_at timestamp, error_message text,")
    )
    application = await asyncpg.connect(empty_database.url)
    try:
        transaction = application.transaction()
        await transaction.start()
        await application.execute(
            "INSERT INTO workflow_executions (workflow_id, status) VALUES ('wf', 'running')"
        )
        migrating = asyncio.create_task(up(empty_database))
        await building(empty_database)
        # A plain CREATE INDEX would make this wait, and wait for it in turn.
        await application.execute(
            "INSERT INTO workflow_executions (workflow_id, status) VALUES ('wf-2', 'running')"
        )
        await transaction.commit()
        await migrating
    finally:
        await application.close()

    assert len(await empty_database.fetch(INDEX)) == 1


async def building(database: Database) -> None:
    async def under_way() -> bool:
        return bool(await database.fetch("SELECT 1 FROM pg_stat_progress_create_index"))

    await eventually(under_way)


async def test_for_another_status_value_there_is_another_index(database: Database) -> None:
    (before,) = await database.fetch(INDEX)
    active = running("it's active")

    built, kept, _, of_ids = await migrate(database.url, active)

    name = index_name("workflow_executions", variant(active))
    assert built == f"table workflow_executions: built index {name}"
    assert "kept index reconciler_workflow_executions_running, for other" in kept
    assert "kept index reconciler_workflow_executions_workflow_id, for other" in of_ids
    assert await database.fetch(INDEX) == [before]
    (index,) = await database.fetch(f"SELECT indexdef FROM pg_indexes WHERE indexname = '{name}'")
    assert "(status = 'it''s active'::text)" in str(index["indexdef"])
    assert await migrate(database.url, active) == []


@pytest.fixture
async def partitioned(database: Database) -> Database:
    """With a table in two partitions, of which one has its index, and one a broken one."""
    await database.execute(f"CREATE TABLE jobs ({NEEDED}) PARTITION BY HASH (id)")
    for part in (0, 1):
        await database.execute(
            f"CREATE TABLE jobs_{part} PARTITION OF jobs"
            f" FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
        )
    await up(database, JOBS)
    return database


INDEXES = """
    SELECT indexrelid::regclass::text AS name, indisvalid AS valid, indexrelid::int AS id
    FROM pg_index WHERE indrelid::regclass::text LIKE 'jobs%' AND NOT indisprimary
        AND indexrelid::regclass::text LIKE '%running' ORDER BY 1
"""


async def test_an_index_on_partitions_that_was_cut_short_is_gone_on_with(
    partitioned: Database,
) -> None:
    whole = await partitioned.fetch(INDEXES)
    # As a build that was cut off leaves it: one partition done, one broken, none attached.
    (definition,) = await partitioned.fetch(
        "SELECT pg_get_indexdef('reconciler_jobs_running'::regclass) AS of"
    )
    await partitioned.execute("DROP INDEX reconciler_jobs_running")
    await partitioned.execute(str(definition["of"]))
    for part in (0, 1):
        await partitioned.execute(
            f"CREATE INDEX reconciler_jobs_{part}_running ON jobs_{part} (id)"
            " WHERE status = 'running'"
        )
    await partitioned.execute(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'reconciler_jobs_1_running'::regclass"
    )
    before = await partitioned.fetch(INDEXES)
    assert [index["valid"] for index in before] == [True, False, False]

    done = await up(partitioned, JOBS)

    assert done == ["table jobs: built index reconciler_jobs_running"]
    after = await partitioned.fetch(INDEXES)
    assert [(index["name"], index["valid"]) for index in after] == [
        (index["name"], True) for index in whole
    ]
    ids = [{index["name"]: index["id"] for index in indexes} for indexes in (before, after)]
    built = "reconciler_jobs_0_running"
    assert ids[0][built] == ids[1][built], "what was built is not built again"
    assert await up(partitioned, JOBS) == []


async def test_partitions_that_come_later_get_theirs_by_themselves(partitioned: Database) -> None:
    await partitioned.execute("CREATE TABLE jobs_2 (LIKE jobs_0)")
    await partitioned.execute("ALTER TABLE jobs DETACH PARTITION jobs_0")
    await partitioned.execute(
        "ALTER TABLE jobs ATTACH PARTITION jobs_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0)"
    )

    assert await up(partitioned, JOBS) == []


async def test_for_other_values_partitions_have_another_index(partitioned: Database) -> None:
    both = replace(JOBS, statuses=StatusValues(running=("pending", "back\\slash")))

    built, *_ = await up(partitioned, both)

    assert built == f"table jobs: built index {index_name('jobs', variant(both))}"
    assert [index["valid"] for index in await partitioned.fetch(INDEXES)] == [True] * 6
    assert await up(partitioned, both) == []
    assert await up(partitioned, JOBS) == []


async def test_a_mapping_that_is_wrong_is_refused_before_anything_is_made(
    empty_database: Database,
) -> None:
    await empty_database.execute("CREATE TABLE jobs (id int PRIMARY KEY, state text)")

    message = "table jobs has no column workflow_id, status, run_id, created_at: set RECONCILER_"
    with pytest.raises(DatabaseUnfit, match=message):
        await up(empty_database, JOBS)
    with pytest.raises(DatabaseUnfit, match=message):
        await migration_sql(empty_database.url, JOBS, io.StringIO())

    columns = await empty_database.fetch(COLUMNS.replace("workflow_executions", "jobs"))
    assert [column["column_name"] for column in columns] == ["id", "state"]
    assert not await empty_database.fetch("SELECT FROM pg_namespace WHERE nspname = 'reconciler'")


async def test_a_table_that_no_pass_would_take_is_refused_before_anything_is_made(
    empty_database: Database,
) -> None:
    await empty_database.execute(
        "CREATE TYPE state AS ENUM ('running', 'completed', 'failed'); CREATE DOMAIN dom AS state;"
        "CREATE TABLE jobs (id int PRIMARY KEY, workflow_id text, run_id int, status dom,"
        " created_at text, completed_at date)"
    )

    with pytest.raises(DatabaseUnfit) as refused:
        await up(empty_database, JOBS)

    wrong = [line.split(" of ")[0] for line in str(refused.value).split("; ")]
    assert wrong == [f"column {n}" for n in ("status", "run_id", "created_at", "completed_at")]
    assert not await empty_database.fetch("SELECT FROM pg_indexes WHERE indexname ~ '_running'")
    assert not await empty_database.fetch("SELECT FROM pg_namespace WHERE nspname = 'reconciler'")


async def test_a_table_that_would_lack_what_is_filtered_by_is_not_made(
    empty_database: Database,
) -> None:
    filtered = replace(MAPPING, where=read_where("tenant=7"))

    with pytest.raises(DatabaseUnfit, match="has no column tenant: set RECONCILER_WHERE"):
        await up(empty_database, filtered)

    assert not await empty_database.fetch("SELECT FROM pg_tables WHERE tablename ~ 'workflow'")


async def test_the_rights_of_who_migrates_need_not_be_those_of_a_pass(database: Database) -> None:
    await database.execute(
        f"CREATE ROLE migrating LOGIN; CREATE TABLE jobs ({NEEDED}); ALTER TABLE jobs ADD"
        " completed_at timestamptz, ADD error_message text; GRANT USAGE ON SCHEMA reconciler TO"
        " migrating; GRANT SELECT ON reconciler.alembic_version TO migrating;"
        "CREATE INDEX reconciler_jobs_running ON jobs (id) WHERE status = 'running';"
        "CREATE UNIQUE INDEX ON jobs (workflow_id)"
    )
    try:
        assert await migrate(with_user(database.url, "migrating"), JOBS) == []
    finally:
        await database.execute("DROP OWNED BY migrating; DROP ROLE migrating")


async def test_a_role_with_the_name_of_our_schema(empty_database: Database) -> None:
    await empty_database.execute("CREATE ROLE reconciler LOGIN SUPERUSER")
    try:
        await migrate(with_user(empty_database.url, "reconciler"), MAPPING)
        tables = await empty_database.fetch(
            "SELECT schemaname FROM pg_tables WHERE tablename = 'workflow_executions'"
        )
    finally:
        await empty_database.execute("DROP OWNED BY reconciler CASCADE")
        await empty_database.execute("DROP ROLE reconciler")

    assert tables == [{"schemaname": "public"}]


class TestSql:
    async def test_printed_is_what_would_be_done(
        self, empty_database: Database, database: Database
    ) -> None:
        output = io.StringIO()

        await migration_sql(empty_database.url, MAPPING, output)

        assert (
            await empty_database.fetch("SELECT 1 FROM pg_namespace WHERE nspname = 'reconciler'")
            == []
        )
        await run_script(empty_database, output.getvalue())
        for query in (COLUMNS, INDEX):
            assert await empty_database.fetch(query) == await database.fetch(query)
        assert await up(empty_database) == []

    async def test_of_an_up_to_date_database_changes_nothing(self, database: Database) -> None:
        output = io.StringIO()

        await migration_sql(database.url, MAPPING, output)

        assert output.getvalue() == "-- nothing to do: up to date\n"

    async def test_whatever_is_in_the_status_values(self, database: Database) -> None:
        odd, output = running("100%", "%(x)s", ":y", "it's"), io.StringIO()

        await migration_sql(database.url, odd, output)

        await run_script(database, output.getvalue())
        assert await up(database, odd) == []

    async def test_of_a_table_named_later(self, database: Database) -> None:
        await database.execute(f"CREATE TABLE jobs ({NEEDED})")
        output = io.StringIO()

        await migration_sql(database.url, JOBS, output)

        await run_script(database, output.getvalue())
        assert await up(database, JOBS) == []


async def test_a_database_that_cannot_be_had_is_one_clear_line() -> None:
    with pytest.raises(DatabaseUnusable, match=r"cannot migrate the database: .*unreachable"):
        await migrate("postgresql://u@127.0.0.1:1/db", MAPPING)
