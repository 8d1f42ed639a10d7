"""Rivals of rows without a run id, in tables of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Rival, RunRow, Unknown
from reconciler.core.own_use import FURTHEST_ZONE
from reconciler.core.policy import StatusValues
from reconciler.core.ports import Ending
from reconciler.core.window import Window
from reconciler.postgres.connection.engine import close, open_engine
from reconciler.postgres.rows.rivals import AT_MOST, arrays, is_indexed, select_rivals
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import TableNames
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.support.crossed import crossed
from tests.support.factories import chain

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
RUN = "5dd76082-6009-41b1-83d8-7e1a7a52bc31"


def ending(
    row_id: int | UUID, workflow_id: str = "w", run_id: str = "last", made: datetime = NOON
) -> Ending:
    """Of a use that started at noon and took an hour."""
    use = chain(NOON, last_run_id=run_id, closed_at=NOON + HOUR)
    return Ending(RunRow(row_id, workflow_id, None, made), use)


async def rivals(
    database: Database, table: MappedTable, *endings: Ending, window: Window | None = None
) -> list[Sequence[Rival]]:
    store = PostgresStore(database.engine, table, window or Window())
    found = await store.rivals(endings)
    assert not isinstance(found, Unknown)
    return list(found)


async def ids(database: Database, table: MappedTable, of: Ending) -> set[object]:
    (found,) = await rivals(database, table, of)
    return {rival.row.id for rival in found}


@pytest.mark.parametrize(
    ("made", "rivals_made"),
    [(0, {-2, 0, 2}), (-60, {-60, -3, -2, 0, 2}), (60, {-61, -60, -3, -2, 0, 2, 3, 60})],
)
async def test_a_row_that_fits_as_well_or_better_is_a_rival(
    database: Database, made: int, rivals_made: set[int]
) -> None:
    at = {
        seconds: await database.insert("w", created_at=NOON + seconds * SECOND)
        for seconds in (-61, -60, -3, -2, 0, 2, 3, 60, 61, 4000)
    }

    found = await ids(database, await database.table(), ending(0, made=NOON + made * SECOND))

    assert found == {at[seconds] for seconds in rivals_made}


async def test_some_of_many_rivals_are_enough_with_any_that_stores_the_run_id(
    database: Database,
) -> None:
    stores = await database.insert("w", "run-first", created_at=NOON)
    for _ in range(AT_MOST + 5):
        await database.insert("w", created_at=NOON)

    found = await ids(database, await database.table(), ending(0))

    assert len(found) == AT_MOST
    assert stores in found


async def test_the_status_makes_no_difference_but_an_end_is_known(database: Database) -> None:
    running = await database.insert("w", created_at=NOON, completed_at=NOON)
    done = await database.insert("w", created_at=NOON, status="ok", completed_at=NOON + SECOND)
    odd = await database.insert("w", "", created_at=NOON, status="whatever")

    (found,) = await rivals(database, await database.table(), ending(0))

    ends = {rival.row.id: rival.ended_at for rival in found}
    assert ends == {running: None, done: NOON + SECOND, odd: None}


async def test_the_window_of_a_backfill_hides_none(database: Database) -> None:
    of = await database.insert("w", created_at=NOON)
    outside = await database.insert("w", created_at=NOON - SECOND)

    (found,) = await rivals(
        database, await database.table(), ending(of), window=Window(NOON, NOON + SECOND)
    )

    assert [rival.row.id for rival in found] == [outside]


async def test_rows_that_are_none_of_ours_are_rivals_only_if_they_store_the_run_id(
    database: Database,
) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD tenant text")
    ours = await database.insert("w", created_at=NOON, tenant="a")
    await database.insert("w", created_at=NOON, tenant="b")
    stores = await database.insert("w", "run-first", created_at=NOON, tenant="b")
    table = await database.table(TableNames(), StatusValues(), read_where("tenant=a"))

    assert await ids(database, table, ending(0)) == {ours, stores}


async def test_a_row_without_a_creation_time_may_be_of_any(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
    timeless = await database.insert("w", created_at=None)

    assert await ids(database, await database.table(), ending(0)) == {timeless}


async def test_rows_say_which_namespace_they_are_of_and_those_of_another_hide_none(
    database: Database,
) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD space text")
    of = await database.insert("w", created_at=NOON, space="blue")
    blue = await database.insert("w", created_at=NOON, space="blue")
    unnamed = await database.insert("w", created_at=NOON)
    for _ in range(AT_MOST):
        await database.insert("w", created_at=NOON, space="red")
    table = await database.table(TableNames(namespace="space"))
    asked = ending(of)

    (found,) = await rivals(
        database, table, replace(asked, row=replace(asked.row, namespace="blue"))
    )
    (of_any,) = await rivals(database, table, asked)

    assert {(each.row.id, each.row.namespace) for each in found} == {
        (blue, "blue"),
        (unnamed, None),
    }
    assert {each.row.id for each in of_any} >= {blue, unnamed}, "the configured one may be blue"


async def test_if_the_zone_is_not_known_no_row_is_nearer_than_another(database: Database) -> None:
    await database.execute(
        "ALTER TABLE workflow_executions ALTER created_at DROP DEFAULT,"
        " ALTER created_at TYPE timestamp, ALTER completed_at TYPE timestamp"
    )
    off = FURTHEST_ZONE + SECOND * 2
    made: dict[object, int] = {
        hours: await database.insert("w", created_at=(NOON + hours * HOUR).replace(tzinfo=None))
        for hours in (-99, -1, 2, 15)
    }
    await database.insert("w", created_at=(NOON + HOUR + off + SECOND).replace(tzinfo=None))
    for ended in (NOON - off, NOON - off - SECOND):
        made[ended] = await database.insert(
            "w",
            created_at=(NOON - 99 * HOUR).replace(tzinfo=None),
            status="ok",
            completed_at=ended.replace(tzinfo=None),
        )
    del made[NOON - off - SECOND]

    found = await ids(database, await database.table(), ending(0, made=NOON - HOUR))

    assert found == set(made.values())


@pytest.mark.parametrize(
    ("workflow_id", "run_id", "partitioned"),
    crossed(
        crossed(
            ["uuid", "text", "varchar(40)", "char(40)"], ["first_run uuid,", "first_run text,", ""]
        ),
        ["", " PARTITION BY RANGE (created_at)"],
    ),
)
async def test_columns_of_every_kind_are_compared(
    database: Database, *, workflow_id: str, run_id: str, partitioned: str
) -> None:
    key = "id, created_at" if partitioned else "id"
    await database.execute(
        f"CREATE TABLE jobs (id uuid DEFAULT gen_random_uuid(), workflow_id {workflow_id},"
        f" {run_id} status text DEFAULT 'running', created_at timestamp NOT NULL,"
        f" completed_at timestamp, error_message text, PRIMARY KEY ({key})){partitioned}"
    )
    if partitioned:
        await database.execute("CREATE TABLE jobs_all PARTITION OF jobs DEFAULT")
    names = TableNames(table="jobs", run_id="first_run" if run_id else None)
    insert = f"INSERT INTO jobs (workflow_id, created_at) VALUES ('{RUN}', '2026-01-01 12:00')"
    made = [(await database.fetch(f"{insert} RETURNING id"))[0]["id"] for _ in range(2)]
    if run_id:
        await database.execute(f"UPDATE jobs SET first_run = '{RUN}' WHERE id = $1", made[1])
    assert isinstance(made[0], UUID)

    of = ending(made[0], RUN, RUN)

    assert await ids(database, await database.table(names), of) == {made[1]}


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("CREATE INDEX ON jobs (workflow_id)", True),
        ("CREATE INDEX ON jobs (workflow_id, status)", True),
        ("CREATE INDEX ON jobs (status, workflow_id)", False),
        ("CREATE INDEX ON jobs (workflow_id) WHERE status = 'running'", False),
        ("CREATE INDEX ON jobs USING hash (workflow_id)", True),
    ],
)
async def test_an_index_that_begins_with_the_workflow_id_serves(
    database: Database, *, index: str, serves: bool
) -> None:
    await database.execute(
        "CREATE TABLE jobs (LIKE workflow_executions INCLUDING GENERATED INCLUDING IDENTITY);"
        "ALTER TABLE jobs ADD PRIMARY KEY (id);"
        "INSERT INTO jobs (workflow_id, status, created_at)"
        " SELECT 'wf-' || n, 'running', now() FROM generate_series(1, 20000) n;"
        f"{index}; ANALYZE jobs"
    )
    table = await database.table(TableNames(table="jobs"))

    assert await is_indexed(database.engine, table) is serves
    given = arrays(table, [ending(number, f"wf-{number}") for number in range(50)])
    explained = select_rivals(table).params(given).compile(dialect=database.engine.dialect)
    plan = await database.fetch(f"EXPLAIN {explained}", *explained.params.values())
    assert ("Seq Scan on jobs" in str(plan)) is not serves


async def test_what_takes_too_long_is_not_asked_twice(database: Database) -> None:
    table, engine = await database.table(), open_engine(database.url, statement_timeout=50)
    store = PostgresStore(engine, table)
    try:
        async with database.pool.acquire() as other, other.transaction():
            await other.execute("LOCK TABLE workflow_executions")
            found = await store.rivals([ending(0)])
        again = await store.rivals([ending(0)])
    finally:
        await close(engine)

    assert isinstance(found, Unknown)
    assert "create an index on that column" in found.cause
    assert again == found


async def test_that_the_table_is_gone_is_no_doubt_about_a_row(database: Database) -> None:
    store = PostgresStore(database.engine, await database.table())
    await database.execute("ALTER TABLE workflow_executions RENAME TO another")

    with pytest.raises(DatabaseUnusable, match="cannot read workflow_executions"):
        await store.rivals([ending(0)])
