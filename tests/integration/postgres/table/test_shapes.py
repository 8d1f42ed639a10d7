"""Any table: fitted, reconciled, undone, and left as it was, on each PostgreSQL there is here."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from reconciler.core.model import CloseStatus, Open
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.reconcile import run_pass
from reconciler.passes.undo import run_undo
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.migrate.removal import remove
from reconciler.postgres.migrate.upgrade import migrate, migration_sql
from reconciler.postgres.rows.lookup.stored import StoredRow, find_rows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable, map_table
from tests.conftest import Database, made_database
from tests.support.factories import closed, policy, start
from tests.support.fakes import ScriptedProbe
from tests.support.servers.debian_postgres import INSTALLED, debian_postgres
from tests.support.tables.scripts import run_script
from tests.support.tables.shapes import (
    BROKEN,
    DONE,
    OPEN,
    OTHERS,
    OVER,
    SHAPES,
    Shape,
)

#: The rows are created now; a pass looks at them in an hour.
NOW = datetime.now(UTC) + timedelta(hours=1)
CLOSE_TIME = NOW - timedelta(minutes=1)
ENDED = replace(closed(), close_time=CLOSE_TIME, start=start(CLOSE_TIME - timedelta(minutes=1)))
MESSAGE = "activity create_zone failed: QuotaExceeded: zone limit is 50"
#: All that the application has made, but its rows.
DEFINITION = """
    WITH theirs AS (SELECT c.oid, c.oid::regclass::text AS name FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_|^information_schema$|^reconciler$' AND c.relkind IN ('r', 'p'))
    SELECT name, 'column' AS kind, attname || ' ' || format_type(atttypid, atttypmod)
        || attnotnull::text || coalesce(pg_get_expr(adbin, adrelid), '') AS definition
        FROM theirs JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL SELECT name, 'constraint', pg_get_constraintdef(c.oid)
        FROM theirs JOIN pg_constraint c ON conrelid = theirs.oid
    UNION ALL SELECT name, 'index', pg_get_indexdef(indexrelid)
        FROM theirs JOIN pg_index ON indrelid = oid
    UNION ALL SELECT name, 'trigger', pg_get_triggerdef(t.oid)
        FROM theirs JOIN pg_trigger t ON tgrelid = theirs.oid AND NOT tgisinternal
    ORDER BY 1, 2, 3
"""


#: The server of all tests; every other one has to do with one plain and one partitioned table.
OURS = "the tests'"
PLAIN_AND_PARTITIONED = ("plain, without the columns that are written", "partitioned by time")
SERVERS = [
    *((OURS, name) for name in SHAPES),
    *((each, name) for each in INSTALLED for name in PLAIN_AND_PARTITIONED),
]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a PostgreSQL: that of all tests, and each that Debian has installed."""
    if request.param not in INSTALLED:
        yield request.getfixturevalue("postgres_url")
        return
    with debian_postgres(request.param) as url:
        yield url


@pytest.fixture
async def empty(server: str) -> AsyncIterator[Database]:
    async with made_database(server) as database:
        yield database


@pytest.mark.parametrize(("server", "name"), SERVERS, indirect=["server"])
async def test_a_table_is_fitted_reconciled_undone_and_left_as_it_was(
    empty: Database, name: str
) -> None:
    shape = SHAPES[name]
    await empty.execute(shape.sql)
    definition = await empty.fetch(DEFINITION)

    done = await migrate(empty.url, shape.mapping)

    table_name = shape.mapping.names.full_name
    assert done[1:] == [f"table {table_name}: {each}" for each in shape.added]
    assert await migrate(empty.url, shape.mapping) == []
    table = await map_table(empty.engine, shape.mapping, writing=True)
    before = await rows(empty, table)
    pass_id = await reconcile(empty, table)

    after = await rows(empty, table)
    statuses, columns = shape.mapping.statuses, shape.mapping.names
    for workflow_id, status, message in (
        (DONE, statuses.completed, shape.no_message),
        (BROKEN, statuses.failed, shape.stored.format(MESSAGE)),
    ):
        row = after.pop(workflow_id)
        assert row.status == status
        assert row.error_message == (message if columns.error_message else None)
        if columns.completed_at:
            assert row.completed_at is not None
            assert abs(row.completed_at - CLOSE_TIME).total_seconds() < 0.001
        else:
            assert row.completed_at is None
    assert after == {each: before[each] for each in (OPEN, OVER, OTHERS) if each in before}

    await undo(empty, table, pass_id)

    assert await rows(empty, table) == before
    await remove(empty.url, shape.mapping, with_columns=True)
    assert await empty.fetch(DEFINITION) == definition


#: Those that differ in what `migrate` has to do to them.
PRINTED = [
    "plain, without the columns that are written",
    "quoted names, uuid key, enum, times without zone",
    "text key, several running values, check, no message",
    "integer key, status as numbers, no run id",
    "partitioned by time",
    "triggers and foreign keys",
]


@pytest.mark.parametrize("shape", [SHAPES[name] for name in PRINTED], ids=PRINTED)
async def test_what_is_printed_does_the_same_and_it_can_be_removed_and_made_again(
    empty_database: Database, shape: Shape
) -> None:
    """`--sql`, run by hand as a DBA would; the rows are as they were throughout."""
    await empty_database.execute(shape.sql)
    definition = await empty_database.fetch(DEFINITION)
    table = await map_table(empty_database.engine, shape.mapping, writing=False)
    before = await rows(empty_database, table)
    output = io.StringIO()

    await migration_sql(empty_database.url, shape.mapping, output)
    assert await empty_database.fetch(DEFINITION) == definition
    await run_script(empty_database, output.getvalue())

    assert await migrate(empty_database.url, shape.mapping) == []
    fitted = await empty_database.fetch(DEFINITION)
    await remove(empty_database.url, shape.mapping, with_columns=True)
    assert await empty_database.fetch(DEFINITION) == definition
    assert len(await migrate(empty_database.url, shape.mapping)) == 1 + len(shape.added)
    assert await empty_database.fetch(DEFINITION) == fitted
    assert await rows(empty_database, table) == before


async def rows(database: Database, table: MappedTable) -> dict[str, StoredRow]:
    """Every row, by its workflow id."""
    found = [await find_rows(database.engine, table, each) for each in (DONE, BROKEN, OPEN, OVER)]
    found.append(await find_rows(database.engine, table, OTHERS))
    return {row.row.workflow_id: row for few in found for row in few}


async def reconcile(database: Database, table: MappedTable) -> str:
    """A pass; returns its id."""
    failed = replace(ENDED, status=CloseStatus.FAILED, failure=MESSAGE)
    probe = ScriptedProbe({DONE: ENDED, BROKEN: failed, OPEN: Open()})
    statuses = table.mapping.statuses
    report = await run_pass(
        PostgresStore(database.engine, table),
        probe,
        PassHistory(database.engine, table.scope, "default", statuses),
        [],
        policy(statuses=statuses),
        PassOptions(batch_size=2),
        NOW,
        PassReport.begin(PassRequest("once"), NOW),
    )
    assert report.error is None
    assert sorted(probe.asked) == [BROKEN, DONE, OPEN]
    assert (report.changed, report.tally.scanned) == (2, 3)
    return report.pass_id


async def undo(database: Database, table: MappedTable, pass_id: str) -> None:
    report = UndoReport(str(uuid4()), PassRequest("undo"), started_at=datetime.now(UTC))
    report.undone = pass_id
    history = PassHistory(database.engine, table.scope, "default", table.mapping.statuses)
    await run_undo(PostgresUndo(database.engine, table), history, report, 100)
    assert report.error is None
    assert (sum(report.written.values()), report.scanned) == (2, 2)
