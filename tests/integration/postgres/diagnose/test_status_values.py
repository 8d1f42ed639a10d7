"""The values of the status column: from the rows of small tables, from statistics of large ones."""

from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import SecretStr

from reconciler.app.before_pass import review_table
from reconciler.core.policy import StatusValues
from reconciler.core.status_review import StatusCount, StatusCounts
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.diagnose import status_values
from reconciler.postgres.diagnose.status_values import SAMPLE, count_statuses
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.model import Settings
from reconciler.settings.where import read_where
from tests.conftest import Database, with_user
from tests.support.polling import PATIENCE

JOBS = TableNames(table="jobs", id="id")
COLUMNS = (
    "workflow_id text, run_id text, created_at timestamptz DEFAULT now(),"
    " completed_at timestamptz, error_message text"
)
#: More rows than a sample has: most are done, and some in the middle are not.
MANY = (
    "INSERT INTO jobs (id, workflow_id, status, completed_at) SELECT n, 'w' || n,"
    " CASE WHEN n BETWEEN 4000 AND 4499 THEN '{rare}' ELSE '{common}' END, now()"
    " FROM generate_series(1, 10000) n"
)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_values, "TIMEOUT", 1000 * PATIENCE)


async def counted(database: Database, where: str = "", **names: str) -> StatusCounts:
    names_of = TableNames(table="jobs", **names)
    mapping = TableMapping(names_of, StatusValues(), read_where(where) if where else None)
    return await count_statuses(database.engine, await database.table(*_parts(mapping)))


def _parts(mapping: TableMapping) -> tuple[object, ...]:
    return mapping.names, mapping.statuses, mapping.where


async def test_a_small_table_is_read_whole(empty_database: Database) -> None:
    await empty_database.execute(f"CREATE TABLE jobs (id int PRIMARY KEY, status text, {COLUMNS})")
    assert await counted(empty_database) == StatusCounts((), exact=True)

    await empty_database.execute(
        "INSERT INTO jobs (id, workflow_id, status, completed_at) VALUES"
        " (1, 'a', 'done', now()), (2, 'b', 'done', NULL), (3, '', ' x', NULL),"
        " (4, NULL, NULL, NULL)"
    )

    found = await counted(empty_database)

    assert found == StatusCounts(
        (
            StatusCount("done", 2, 2, 2, ended=1),
            StatusCount(" x", 1, 1, 1, ended=1),
            StatusCount(None, 1, 1, 1, ended=1),
        ),
        exact=True,
    )


@pytest.mark.parametrize("partitioned", [False, True])
async def test_a_large_table_has_statistics(empty_database: Database, *, partitioned: bool) -> None:
    by = " PARTITION BY HASH (id)" if partitioned else ""
    await empty_database.execute(
        f"CREATE TABLE jobs (id int PRIMARY KEY, status text, {COLUMNS}){by}"
    )
    for n in range(2 * partitioned):
        await empty_database.execute(
            f"CREATE TABLE jobs_{n} PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
        )
    await empty_database.execute(MANY.format(rare="rare", common="common"))

    (only,) = (await counted(empty_database)).counts
    assert only == StatusCount("common", 2 * SAMPLE, 2 * SAMPLE, SAMPLE, 2 * SAMPLE)

    await empty_database.execute("ANALYZE jobs_0, jobs_1" if partitioned else "ANALYZE jobs")
    found = await counted(empty_database)
    assert found.counts == (
        StatusCount("common", 9500, 2 * SAMPLE, SAMPLE, 2 * SAMPLE),
        StatusCount("rare", 500, 10, 0, 10),
    )
    assert not found.exact


@pytest.mark.parametrize(
    ("kind", "common", "rare"),
    [
        ("boolean", "true", "false"),
        ("smallint", "3", "12"),
        ("char(9)", "done", 'a, "b"'),
        ("state", "all done", "It's"),
    ],
)
async def test_statistics_have_the_same_text_as_rows(
    empty_database: Database, kind: str, common: str, rare: str
) -> None:
    await empty_database.execute(
        "CREATE TYPE state AS ENUM ('all done', 'It''s', 'running', 'completed', 'failed');"
        f"CREATE TABLE jobs (id int PRIMARY KEY, status text, {COLUMNS});"
        + MANY.format(rare=rare.replace("'", "''"), common=common)
        + f"; ALTER TABLE jobs ALTER status TYPE {kind} USING status::{kind}; ANALYZE jobs"
    )
    ends = {"boolean": ("true", "false"), "smallint": ("1", "2")}.get(kind, ("completed", "failed"))
    running = "running" if ends[0] == "completed" else ends[0]
    statuses = StatusValues((running,), ends[0], *[ends[1]] * 4)
    table = await empty_database.table(JOBS, statuses)

    found = await count_statuses(empty_database.engine, table)

    assert [(each.value, each.rows) for each in found.counts] == [(common, 9500), (rare, 500)]


async def test_only_rows_that_the_filter_selects(empty_database: Database) -> None:
    await empty_database.execute(
        f"CREATE TABLE jobs (id int PRIMARY KEY, status text, tenant int, {COLUMNS});"
        "INSERT INTO jobs (id, status, tenant) VALUES (1, 'a', 7), (2, 'b', 8)"
    )

    assert [each.value for each in (await counted(empty_database, "tenant=7")).counts] == ["a"]
    none = await counted(empty_database, "tenant=9")
    assert none == StatusCounts((), exact=False, excluding="tenant = 9")
    by_status = await counted(empty_database, "status!=a,b")
    assert by_status == StatusCounts((), exact=False)

    await empty_database.execute("DELETE FROM jobs;" + MANY.format(rare="c", common="c"))
    await empty_database.execute("UPDATE jobs SET tenant = 7 WHERE id BETWEEN 4000 AND 4499")
    unknown = [await counted(empty_database, f"tenant={tenant}") for tenant in (7, 9)]
    assert unknown == [StatusCounts((), exact=False)] * 2

    await empty_database.execute("ANALYZE jobs")
    assert (await counted(empty_database, "tenant=7")).excluding is None
    assert (await counted(empty_database, "tenant=9")).excluding == "tenant = 9"


async def test_a_table_that_is_locked_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_values, "TIMEOUT", 50)
    table, settings = await database.table(), Settings(database_url=SecretStr(database.url))
    await database.insert("w", status="strange")
    assert len(await review_table(database.engine, table, settings)) == 1

    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE workflow_executions")
        assert await review_table(database.engine, table, settings) == []


async def test_a_role_that_sees_no_statistics(empty_database: Database) -> None:
    role = f"app_{uuid4().hex[:8]}"
    await empty_database.execute(
        f"CREATE TABLE jobs (id int PRIMARY KEY, status text, {COLUMNS});"
        + MANY.format(rare="rare", common="common")
        + f"; ANALYZE jobs; CREATE ROLE {role} LOGIN; GRANT SELECT ON jobs TO {role};"
        "REVOKE ALL ON pg_stats FROM public"
    )
    try:
        async with using_engine(with_user(empty_database.url, role)) as engine:
            table = await map_table(engine, TableMapping(JOBS), writing=False)
            found = await count_statuses(engine, table)
    finally:
        await empty_database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert [each.value for each in found.counts] == ["common"]
