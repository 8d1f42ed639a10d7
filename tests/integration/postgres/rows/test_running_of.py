"""The look-up of running rows by their workflow ids: by index, whatever PostgreSQL expects."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from reconciler.core.model import RunRow
from reconciler.postgres.connection.explain import Explain, scans_of
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.diagnose.read_plan import plan_lookup
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.rows.lookup.running import RunningOf, select_running_of
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.integration.postgres.connection.test_encodings import encoded
from tests.integration.postgres.rows.test_rejections import rows_of
from tests.integration.postgres.rows.test_unreadable_rows import corrupt

INDEX = " using reconciler_jobs_workflow_id"
MANY = 20_000


async def jobs(database: Database, kind: str, template: str = "workflow_id") -> MappedTable:
    """A table with `migrate`'s indexes, analysed while none of its many rows was running."""
    await database.execute(
        f"CREATE TABLE jobs (id bigserial PRIMARY KEY, {kind}, run_id text, status text,"
        " created_at timestamptz DEFAULT now(), completed_at timestamptz, error_message text)"
        " WITH (autovacuum_enabled = false)"
    )
    mapping = TableMapping(TableNames(table="jobs", workflow_id=template))
    await migrate(database.url, mapping, own_schema=False)
    return await database.table(mapping.names)


async def fill(database: Database, columns: str, values: str, status: str = "running") -> None:
    await database.execute(
        f"INSERT INTO jobs ({columns}, run_id, status)"
        f" SELECT {values}, 'r', '{status}' FROM generate_series(1, {MANY}) i"
    )


async def found(database: Database, table: MappedTable, *ids: str) -> list[RunRow]:
    return list(await RunningOf(database.engine, table).read(ids))


@pytest.mark.parametrize("analysed", ["never", "while none was running", "now"])
@pytest.mark.parametrize(
    ("kind", "template", "columns", "values", "wanted"),
    [
        ("workflow_id text", "workflow_id", "workflow_id", "'wf-' || i", "wf-7"),
        ("workflow_id varchar(9)", "workflow_id", "workflow_id", "'wf-' || i", "wf-7"),
        ("workflow_id char(9)", "workflow_id", "workflow_id", "'wf-' || i", "wf-7"),
        (
            "workflow_id uuid",
            "workflow_id",
            "workflow_id",
            "lpad(i::text, 32, '0')::uuid",
            "00000000-0000-0000-0000-000000000007",
        ),
        ("a int, b text", "x-{a}/{b}", "a, b", "i % 9, 'b-' || i", "x-7/b-7"),
        (
            "at timestamp",
            "{at}",
            "at",
            "timestamp '2026-01-01' + i * interval '1 s'",
            "2026-01-01T00:00:07Z",
        ),
    ],
)
async def test_an_index_finds_them_whatever_the_statistics_say(
    database: Database,
    kind: str,
    template: str,
    columns: str,
    values: str,
    wanted: str,
    analysed: str,
) -> None:
    table = await jobs(database, kind, template)
    if analysed == "while none was running":
        await fill(database, columns, values, status="done")
        await database.execute("ANALYZE jobs")
    await fill(database, columns, values)
    if analysed == "now":
        await database.execute("ANALYZE jobs")

    plan = await plan_lookup(database.engine, table)
    rows = await found(database, table, wanted, wanted.upper(), f"{wanted} ", "x", "")

    assert plan.served
    assert plan.scans.endswith(INDEX)
    assert [row.workflow_id for row in rows] == [wanted]


async def test_each_id_is_looked_up_by_itself_if_ids_have_many_finished_rows(
    database: Database,
) -> None:
    """PostgreSQL expects that each has many running ones, and would rather read them all."""
    table = await jobs(database, "workflow_id text")
    await fill(database, "workflow_id", "'wf-' || i % 10", status="done")
    await database.execute("ANALYZE jobs")
    await fill(database, "workflow_id", "'wf-' || i")
    ids = [f"wf-{number}" for number in range(1000)]

    query = select_running_of(table).params(given_workflow_id=ids, given_given_part_0=ids)
    ((plan,),) = await fetch(database.engine, Explain(query))

    assert scans_of(plan) == [(ANY, "reconciler_jobs_workflow_id")]
    assert plan[0]["Plan"]["Node Type"] == "Nested Loop", "not a scan of the whole index"


async def test_without_an_index_they_are_found_too(database: Database) -> None:
    table = await jobs(database, "workflow_id text")
    await fill(database, "workflow_id", "'wf-' || i % 100")
    await database.execute("DROP INDEX reconciler_jobs_workflow_id; ANALYZE jobs")

    plan = await plan_lookup(database.engine, table)
    ids = [f"wf-{number}" for number in range(5)] + [f"other-{number}" for number in range(3000)]
    rows = await found(database, table, *ids)

    assert not plan.servable
    assert len(rows) == 5 * MANY // 100


async def test_only_rows_that_passes_cover_are_found(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD tenant int")
    for tenant in (7, 8):
        await database.insert("wf", f"run-{tenant}")
        await database.execute(
            "UPDATE workflow_executions SET tenant = $1 WHERE tenant IS NULL", tenant
        )
    mapping = TableMapping(where=read_where("tenant=8"))
    table = await map_table(database.engine, mapping, writing=False)

    assert [row.run_id for row in await found(database, table, "wf")] == ["run-8"]


@pytest.mark.parametrize("index", [True, False], ids=["by index", "by scanning"])
async def test_a_row_that_cannot_be_read_is_one_of_them(database: Database, index: bool) -> None:
    rows = await rows_of(database, 20)
    ids = [row.workflow_id for row in rows]
    await corrupt(database, "run_id", [rows[7].id])
    if not index:
        await database.execute("DROP INDEX reconciler_workflow_executions_workflow_id")

    read = await found(database, await database.table(), *ids[5:9])

    assert sorted(row.id for row in read) == [row.id for row in rows[5:9]]
    assert [row.id for row in read if row.unreadable] == [rows[7].id]


async def test_a_workflow_id_that_cannot_be_read_hides_no_other(database: Database) -> None:
    rows = await rows_of(database, 20)
    await database.execute("DROP INDEX reconciler_workflow_executions_workflow_id")
    await corrupt(database, "workflow_id", [rows[7].id])

    read = await found(database, await database.table(), rows[3].workflow_id, rows[7].workflow_id)

    assert [row.id for row in read] == [rows[3].id]


async def test_ids_that_the_database_cannot_have_are_those_of_no_row(postgres_url: str) -> None:
    async with encoded(postgres_url, "LATIN1") as database:
        await database.insert("d\u00e9j\u00e0", "r")
        table = await database.table()

        rows = await found(database, table, "\u6f22", "\0", "a\0", "d\u00e9j\u00e0", "\U0001f600")

        assert [row.workflow_id for row in rows] == ["d\u00e9j\u00e0"]


async def test_rows_that_share_a_key_are_all_found(database: Database) -> None:
    await database.execute(
        "CREATE TABLE jobs (tenant int, id uuid, workflow_id text, run_id text, status text,"
        " created_at timestamptz, completed_at timestamptz, error_message text,"
        " PRIMARY KEY (tenant, id))"
    )
    await database.execute(
        "INSERT INTO jobs SELECT i, '7a1c8aa0-0000-4000-8000-00000000000b', 'wf-' || i % 2,"
        " i::text, 'running' FROM generate_series(1, 4) i"
    )
    table = await database.table(TableNames(table="jobs"))

    assert sorted(str(row.run_id) for row in await found(database, table, "wf-0")) == ["2", "4"]
