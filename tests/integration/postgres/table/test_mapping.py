"""The application's table as it really is: names, types, and what is refused at the start."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import RunRow
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.journal.schema_check import check_schema
from reconciler.postgres.rows.lookup.stored import find_rows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database, with_user
from tests.support.factories import CLOSE_TIME, outcome

CREATED = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
OWN_NAMES = TableNames(
    table="Jobs",
    schema="My App",
    id="Job Id",
    workflow_id="wf",
    run_id="run",
    status="state",
    created_at="inserted",
    completed_at="ended",
    error_message="error",
)

SHAPES = {
    "uuid key, enum status, times without zone": (
        "id uuid PRIMARY KEY",
        "status state NOT NULL",
        "timestamp",
        "text",
        uuid4(),
    ),
    "text key, varchar status and error": (
        "id text PRIMARY KEY",
        "status varchar(20) NOT NULL",
        "timestamptz",
        "varchar(10)",
        "tenant/1",
    ),
    "integer key, check on status, run id as uuid": (
        "id int PRIMARY KEY",
        "status text CHECK (status IN ('running', 'completed', 'failed'))",
        "timestamptz(3)",
        "text",
        7,
    ),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_tables_of_other_shapes(database: Database, shape: tuple[Any, ...]) -> None:
    key, status, time, text, id_ = shape
    run_type = "uuid" if isinstance(id_, int) else "text"
    run_id = str(uuid4())
    await database.execute("CREATE TYPE state AS ENUM ('running', 'completed', 'failed')")
    await database.execute(
        f"CREATE TABLE jobs ({key}, workflow_id varchar(100), run_id {run_type}, {status},"
        f" created_at {time}, completed_at {time}, error_message {text})"
    )
    await database.execute(
        f"INSERT INTO jobs VALUES ($1, 'wf', $2::text::{run_type}, 'running',"
        " ($3::timestamptz AT TIME ZONE 'UTC')::timestamp, NULL, NULL)"
        if time == "timestamp"
        else f"INSERT INTO jobs VALUES ($1, 'wf', $2::text::{run_type}, 'running', $3)",
        id_,
        run_id,
        CREATED,
    )
    table = await database.table(TableNames(table="jobs"))
    store = PostgresStore(database.engine, table)

    last = await store.last_running()
    assert last is not None
    (row,) = await store.scan_running(None, last, 10)
    assert row == RunRow(row.id, "wf", run_id, CREATED)
    assert str(row.id) == str(id_)
    assert list(await store.scan_running(row.id, last, 10)) == []

    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)
    await database.history().begin(report)
    cut = "boom" * 1000 if table.error_message_length is None else "b" * table.error_message_length
    written = await store.finish_if_running(
        report.pass_id, [outcome(row, status="failed", error_message=cut)]
    )

    assert written.ids == {row.id}
    assert written.refused == {}
    (stored,) = await find_rows(database.engine, table, "wf")
    assert stored.status == "failed"
    assert stored.error_message == cut
    digits = 3 if time == "timestamptz(3)" else 6
    assert stored.completed_at == CLOSE_TIME.replace(
        microsecond=round(CLOSE_TIME.microsecond, digits - 6)
    )
    (change,) = await database.fetch("SELECT * FROM reconciler.changes")
    assert change["row_id"] == str(id_)
    assert change["new_completed_at"] == stored.completed_at, "as stored"
    assert change["close_time"] == CLOSE_TIME, "as Temporal said"


@pytest.mark.parametrize(
    ("domain", "declared"),
    [
        ("varchar(20)", "inmost"),
        ("varchar(20)", "outer_one"),
        ("char(20)", "inmost"),
        ("char(20)", "outer_one"),
        ("text", "varchar(20)"),
    ],
)
async def test_a_message_is_cut_to_what_a_column_holds_domain_or_not(
    database: Database, domain: str, declared: str
) -> None:
    await database.execute(
        f"CREATE DOMAIN inmost AS {domain}; CREATE DOMAIN outer_one AS inmost;"
        f"ALTER TABLE workflow_executions ALTER error_message TYPE {declared}"
    )
    await database.insert("wf", "run-1")
    table = await database.table()
    store = PostgresStore(database.engine, table)
    (row,) = await store.scan_running(None, 9, 9)
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)
    await database.history().begin(report)

    failed = outcome(row, status="failed", error_message="boom " * 9)
    written = await store.finish_if_running(report.pass_id, [failed])

    assert written.ids == {row.id}
    (stored,) = await find_rows(database.engine, table, "wf")
    assert stored.error_message == "boom boom boom boom…"


async def test_what_a_domains_check_makes_of_a_message_is_found_out_row_by_row(
    database: Database,
) -> None:
    await database.execute(
        "CREATE DOMAIN brief AS text CHECK (VALUE !~ ':');"
        "ALTER TABLE workflow_executions ALTER error_message TYPE brief"
    )
    ids = [await database.insert("wf", "run-1") for _ in range(2)]
    store = PostgresStore(database.engine, await database.table())
    rows = await store.scan_running(None, 9, 9)
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)
    await database.history().begin(report)
    outcomes = [
        outcome(row, status="failed", error_message=message)
        for row, message in zip(rows, ("boom", "boom: no"), strict=True)
    ]

    written = await store.finish_if_running(report.pass_id, outcomes)

    assert written.ids == {ids[0]}
    assert written.refused == {
        ids[1]: 'value for domain brief violates check constraint "brief_check"'
    }


@pytest.mark.parametrize(
    ("made", "ended"),
    [("timestamp", "timestamp"), ("zoned", "bare"), ("bare", "zoned"), ("bare", "zoneder")],
)
async def test_a_time_without_a_zone_is_utc_wherever_the_database_is(
    database: Database, made: str, ended: str
) -> None:
    await database.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(),"
        " 'Asia/Tokyo'); END $$;"
        "CREATE DOMAIN bare AS timestamp(6); CREATE DOMAIN zoned AS timestamptz(6);"
        "CREATE DOMAIN zoneder AS zoned;"
        f"ALTER TABLE workflow_executions ALTER created_at TYPE {made}, ALTER completed_at TYPE"
        f" {ended}, ALTER created_at SET DEFAULT '2026-11-01 08:30{'Z' * (made == 'zoned')}'"
    )
    await database.insert("wf", "run-1")
    await database.engine.dispose()
    store = PostgresStore(database.engine, await database.table())
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)
    await database.history().begin(report)

    (row,) = await store.scan_running(None, 9, 9)
    await store.finish_if_running(report.pass_id, [outcome(row)])

    assert row.created_at == CREATED
    (stored,) = await database.fetch("SELECT completed_at FROM workflow_executions")
    utc = UTC if ended.startswith("zoned") else None
    assert stored["completed_at"] == CLOSE_TIME.replace(tzinfo=utc)
    (change,) = await database.fetch("SELECT new_completed_at FROM reconciler.changes")
    assert change["new_completed_at"] == CLOSE_TIME


async def test_columns_that_are_not_ours_may_be_of_any_type(database: Database) -> None:
    await database.execute("CREATE DOMAIN odd AS int; CREATE TYPE pair AS (a int, b odd)")
    await database.execute(
        "ALTER TABLE workflow_executions ADD a pair, ADD b pg_lsn, ADD c xid8, ADD d point"
    )
    await database.insert("wf", "run-1")

    store = PostgresStore(database.engine, await database.table())

    assert await store.last_running() is not None


async def test_a_row_without_a_workflow_id_is_read_as_an_empty_one(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER workflow_id DROP NOT NULL")
    await database.execute("INSERT INTO workflow_executions (run_id) VALUES (NULL)")
    store = PostgresStore(database.engine, await database.table())

    (row,) = await store.scan_running(None, await store.last_running() or 0, 10)

    assert row.workflow_id == ""


async def test_names_that_need_quotes(database: Database) -> None:
    await database.execute('CREATE SCHEMA "My App"')
    await database.execute(
        'CREATE TABLE "My App"."Jobs" ("Job Id" int PRIMARY KEY, wf text, run text, state text,'
        " inserted timestamptz, ended timestamptz, error text)"
    )
    await database.execute(
        """INSERT INTO "My App"."Jobs" VALUES (1, 'wf', 'r', 'it''s on', now())"""
    )
    table = await database.table(OWN_NAMES, StatusValues(running=("it's on",)))
    store = PostgresStore(database.engine, table)
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=CREATED)
    await database.history().begin(report)

    (row,) = await store.scan_running(None, 1, 10)
    await store.finish_if_running(report.pass_id, [outcome(row)])

    assert await store.last_running() is None
    (change,) = await database.fetch("SELECT table_name, pass_id FROM reconciler.changes")
    assert change == {"table_name": "My App.Jobs", "pass_id": UUID(report.pass_id)}


@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01", "0400-01-01 BC"])
async def test_a_time_that_python_cannot_hold_is_read_as_none(
    database: Database, time: str
) -> None:
    await database.execute(
        f"INSERT INTO workflow_executions (workflow_id, created_at) VALUES ('wf', '{time}')"
    )
    table = await database.table()
    store = PostgresStore(database.engine, table)

    (row,) = await store.scan_running(None, await store.last_running() or 0, 10)

    assert row.created_at is None
    (stored,) = await find_rows(database.engine, table, "wf")
    assert stored.row == row


async def test_a_backslash_in_a_value_is_only_that_whatever_the_server_makes_of_it(
    database: Database,
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(f'ALTER DATABASE "{name}" SET standard_conforming_strings = off')
    await database.engine.dispose()
    await database.insert("wf", "run-1", status="completed")
    value = r"x\' OR true --"

    table = await database.table(TableNames(), StatusValues(running=(value,)))

    assert await PostgresStore(database.engine, table).last_running() is None


class TestRefusedAtTheStart:
    @pytest.mark.parametrize(
        "definition",
        [
            "TABLE jobs (tenant int, id int, PRIMARY KEY (tenant, id), {columns})",
            "TABLE jobs (id int, {columns})",
            "TABLE jobs (id int UNIQUE, {columns})",
        ],
    )
    async def test_a_key_that_does_not_identify_a_row(
        self, database: Database, definition: str
    ) -> None:
        columns = (
            "workflow_id text, run_id text, status text, created_at timestamptz,"
            " completed_at timestamptz, error_message text"
        )
        await database.execute("CREATE " + definition.format(columns=columns))

        with pytest.raises(DatabaseUnusable, match="column id of jobs does not identify a row"):
            await database.table(TableNames(table="jobs"))

    async def test_a_role_that_may_not_journal(self, database: Database) -> None:
        role = f"writer_{uuid4().hex[:8]}"
        await database.execute(f"CREATE ROLE {role} LOGIN")
        await database.execute(f"GRANT SELECT, UPDATE ON workflow_executions TO {role}")
        await database.execute(f"GRANT USAGE ON SCHEMA reconciler TO {role}")
        as_writer = _as_role(database, role)
        try:
            with pytest.raises(DatabaseUnusable, match=r"GRANT INSERT ON reconciler\.changes"):
                await check_schema(as_writer.engine, looping=False)
        finally:
            await as_writer.engine.dispose()
            await database.execute(f"DROP OWNED BY {role}")
            await database.execute(f"DROP ROLE {role}")

    async def test_no_such_table(self, database: Database) -> None:
        with pytest.raises(DatabaseUnusable, match=r"no table shop\.orders: set RECONCILER_TABLE"):
            await database.table(TableNames(table="orders", schema="shop"))

    async def test_every_missing_column_is_named_at_once(self, database: Database) -> None:
        names = replace(TableNames(), run_id="first_run", error_message="reason")

        with pytest.raises(DatabaseUnusable) as refused:
            await database.table(names)

        assert str(refused.value) == (
            "table workflow_executions has no column first_run, reason: "
            "set RECONCILER_COLUMNS__RUN_ID, RECONCILER_COLUMNS__ERROR_MESSAGE "
            "(empty: no such column), or run `reconciler migrate`"
        )

    async def test_reading_needs_no_columns_to_write(self, empty_database: Database) -> None:
        await empty_database.execute(
            "CREATE TABLE workflow_executions (id int PRIMARY KEY, workflow_id text, run_id text,"
            " status text, created_at timestamptz)"
        )

        table = await empty_database.table(writing=False)

        assert table.error_message_length is None
        with pytest.raises(DatabaseUnusable, match="has no column completed_at, error_message"):
            await empty_database.table()

    async def test_our_schema_is_missing(self, database: Database) -> None:
        await database.execute("DROP SCHEMA reconciler CASCADE")

        with pytest.raises(DatabaseUnusable, match="run `reconciler migrate`"):
            await check_schema(database.engine, looping=False)

    async def test_a_role_that_may_not_write(self, database: Database) -> None:
        role = f"reader_{uuid4().hex[:8]}"
        await database.execute(f"CREATE ROLE {role}")
        await database.execute(f"GRANT SELECT ON workflow_executions TO {role}")
        try:
            async with database.engine.connect() as connection:
                await connection.exec_driver_sql(f"ALTER ROLE {role} LOGIN")
                await connection.commit()
            as_reader = _as_role(database, role)
            assert (await as_reader.table(writing=False)).full_name == "workflow_executions"
            with pytest.raises(DatabaseUnusable) as refused:
                await as_reader.table()
            await as_reader.engine.dispose()
        finally:
            await database.execute(f"DROP OWNED BY {role}")
            await database.execute(f"DROP ROLE {role}")

        assert str(refused.value) == (
            f"role {role} may not use table workflow_executions: GRANT UPDATE (status), "
            f"UPDATE (completed_at), UPDATE (error_message) ON workflow_executions TO {role}"
        )


def _as_role(database: Database, role: str) -> Database:
    url = with_user(database.url, role)
    return Database(url, open_engine(url), database.pool)
