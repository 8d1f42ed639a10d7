"""Rows that somebody moves to another partition while they are being written.

PostgreSQL then fails the whole statement, where it would wait for, or skip, a row that is merely
being changed. On a table partitioned by its status that is every race with the application.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

import asyncpg
import pytest

from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import RestoreResult, UndoReport
from reconciler.passes.undo import run_undo
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from reconciler.settings.table import TableSettings
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.support.factories import outcome
from tests.support.polling import eventually

T = TypeVar("T")
# The update of each row waits for a lock of its own, and by nested loops they come one by one.
TABLE = """
    CREATE TABLE jobs (id int, workflow_id text, run_id text, status text,
        created_at timestamptz DEFAULT now(), completed_at timestamptz, error_message text,
        PRIMARY KEY (id, status)) PARTITION BY LIST (status);
    CREATE TABLE jobs_on PARTITION OF jobs FOR VALUES IN ('running');
    CREATE TABLE jobs_done PARTITION OF jobs FOR VALUES IN ('completed');
    CREATE TABLE jobs_off PARTITION OF jobs DEFAULT;
    INSERT INTO jobs VALUES (1, 'w', 'r', 'running'), (2, 'w', 'r', 'running');
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(OLD.id); RETURN NEW; END $$;
    CREATE TRIGGER wait BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION wait();
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_hashjoin = off', current_database());
        EXECUTE format('ALTER DATABASE %I SET enable_mergejoin = off', current_database()); END $$
"""
WAITED_FOR = (
    "SELECT objid::int AS id FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

PERIOD_CLOSED = "period closed, in function wait() line 1"


@pytest.fixture
async def store(database: Database) -> PostgresStore:
    await database.execute(TABLE)
    await database.engine.dispose()
    return PostgresStore(database.engine, await database.table(TableNames(table="jobs")))


@pytest.fixture
async def application(database: Database) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database.url)
    yield connection
    await connection.close()


async def moved_meanwhile(
    database: Database, application: asyncpg.Connection[asyncpg.Record], write: Awaitable[T]
) -> tuple[int, int, T]:
    """Let a write come to its first row, move the other one, and let it go on.

    Returns the first row, the other one, and what the write returns.
    """
    await application.execute("SELECT pg_advisory_lock(1), pg_advisory_lock(2)")
    writing = asyncio.ensure_future(write)
    first: list[int] = []

    async def it_waits() -> bool:
        first[:] = [int(str(row["id"])) for row in await database.fetch(WAITED_FOR)]
        return bool(first)

    await eventually(it_waits)
    other = 3 - first[0]
    await application.execute("UPDATE jobs SET status = status || '!' WHERE id = $1", other)
    await application.execute("SELECT pg_advisory_unlock_all()")
    return first[0], other, await writing


async def statuses(database: Database) -> dict[object, object]:
    return {row["id"]: row["status"] for row in await database.fetch("SELECT * FROM jobs")}


async def finish(database: Database, store: PostgresStore) -> tuple[str, Awaitable[Written]]:
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=datetime.now(UTC))
    await database.history().begin(report)
    seen = await store.scan_running(None, 2, 2)
    return report.pass_id, store.finish_if_running(report.pass_id, [outcome(row) for row in seen])


async def test_a_pass_loses_the_race_for_that_row_alone(
    database: Database,
    store: PostgresStore,
    application: asyncpg.Connection[asyncpg.Record],
) -> None:
    _, write = await finish(database, store)

    first, other, written = await moved_meanwhile(database, application, write)

    assert written == Written(frozenset([first]))
    assert await statuses(database) == {first: "completed", other: "running!"}
    changes = await database.fetch("SELECT row_id FROM reconciler.changes")
    assert changes == [{"row_id": str(first)}]


async def test_an_undo_leaves_that_row_alone(
    database: Database,
    store: PostgresStore,
    application: asyncpg.Connection[asyncpg.Record],
) -> None:
    pass_id, write = await finish(database, store)
    assert (await write).ids == {1, 2}
    table = await database.table(TableNames(table="jobs"))
    report = UndoReport(str(uuid4()), PassRequest("undo"), started_at=datetime.now(UTC))
    report.undone = pass_id
    undoing = run_undo(PostgresUndo(database.engine, table), database.history(), report, 100)

    first, other, _ = await moved_meanwhile(database, application, undoing)

    assert report.error is None
    assert {reason.value: count for reason, count in report.left.items()} == {"changed": 1}
    assert await statuses(database) == {first: "running", other: "completed!"}


async def test_a_rule_that_raises_the_code_of_a_race_is_reported(
    database: Database, store: PostgresStore
) -> None:
    """A row is moved in that very moment once, and not each time that it is tried."""
    pass_id, write = await finish(database, store)
    await database.execute(
        "CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'period closed' USING ERRCODE = '40001'; END $$"
    )

    assert await write == Written(frozenset(), dict.fromkeys((1, 2), PERIOD_CLOSED))

    await database.execute("ALTER TABLE jobs DISABLE TRIGGER wait")
    seen = await store.scan_running(None, 2, 2)
    await store.finish_if_running(pass_id, [outcome(row) for row in seen])
    await database.execute("ALTER TABLE jobs ENABLE TRIGGER wait")
    changes = await database.fetch("SELECT id FROM reconciler.changes")
    journal = PostgresUndo(database.engine, await database.table(TableNames(table="jobs")))

    ids = [int(str(change["id"])) for change in changes]
    assert await journal.restore(pass_id, ids) == RestoreResult(
        {}, dict.fromkeys(ids, PERIOD_CLOSED)
    )


async def test_a_report_of_the_main_path_is_tried_again(
    database: Database,
    store: PostgresStore,
    application: asyncpg.Connection[asyncpg.Record],
) -> None:
    assert await store.last_running() == 2
    writer = RowWriter(database.engine, TableSettings(table="jobs"), owned=False)
    now = datetime.now(UTC)
    report = EndReport("w", "completed", "r", now)
    transaction = application.transaction()
    await transaction.start()
    await application.execute("UPDATE jobs SET status = 'running!'")
    writing = asyncio.ensure_future(writer.finish(report, None, now))
    await eventually(lambda: waiting(database))

    await transaction.commit()

    assert await writing is False, "it was tried again, and found the row finished"


async def waiting(database: Database) -> bool:
    rows = await database.fetch(
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(rows)
