"""The guarded write on PostgreSQL: what it stores, what it journals, what it will not touch."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Outcome, RunRow
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.run_row import select_rows
from tests.conftest import Database
from tests.support.factories import CLOSE_TIME, NOW, outcome
from tests.support.polling import deadline

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


async def begin_pass(database: Database) -> str:
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=datetime.now(UTC))
    await database.history().begin(report)
    return report.pass_id


async def store_of(database: Database) -> PostgresStore:
    return PostgresStore(database.engine, await database.table())


async def insert(database: Database, workflow_id: str = "wf", run_id: str = "run-1") -> RunRow:
    return RunRow(await database.insert(workflow_id, run_id), workflow_id, run_id, CREATED)


def failed(row: RunRow, **fields: str) -> Outcome:
    given = {"status": "failed", "error_message": "boom", "temporal_status": "TIMED_OUT", **fields}
    return outcome(row, **given)


async def test_stores_temporals_close_time_to_the_microsecond(database: Database) -> None:
    row = await insert(database)

    await (await store_of(database)).finish_if_running(await begin_pass(database), [failed(row)])

    stored = await database.row(int(str(row.id)))
    assert stored["status"] == "failed"
    assert stored["completed_at"] == CLOSE_TIME
    assert stored["error_message"] == "boom"


@pytest.mark.parametrize("column", ["timestamptz", "timestamp", "timestamptz(0)"])
@pytest.mark.parametrize("year", [2, 1969, 9998])
async def test_stores_an_unusual_close_time_as_it_is(
    database: Database, column: str, year: int
) -> None:
    """The first and the last that an observation may have are no infinite times."""
    await database.execute(f"ALTER TABLE workflow_executions ALTER completed_at TYPE {column}")
    row = await insert(database)
    last = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    ended = outcome(row, completed_at=last)

    await (await store_of(database)).finish_if_running(await begin_pass(database), [ended])

    stored = await database.row(int(str(row.id)))
    assert stored["completed_at"].replace(tzinfo=UTC) == last  # type: ignore[attr-defined]


async def test_journals_old_values_new_values_and_evidence(database: Database) -> None:
    row = await insert(database)
    await database.execute("UPDATE workflow_executions SET error_message = 'stale'")
    pass_id = await begin_pass(database)

    store = PostgresStore(database.engine, await database.table(), found_by="feed")
    await store.finish_if_running(pass_id, [failed(row, workflow_type="Order")])

    (change,) = await database.fetch("SELECT * FROM reconciler.changes")
    del change["id"], change["changed_at"]
    assert change == {
        "pass_id": UUID(pass_id),
        "table_name": "workflow_executions",
        "row_id": str(row.id),
        "workflow_id": "wf",
        "run_id": "run-1",
        "old_status": "running",
        "new_status": "failed",
        "old_completed_at": None,
        "new_completed_at": CLOSE_TIME,
        "old_error_message": "stale",
        "new_error_message": "boom",
        "temporal_status": "TIMED_OUT",
        "final_run_id": "run-last",
        "close_time": CLOSE_TIME,
        "found_by": "feed",
        "workflow_type": "Order",
    }


async def test_a_lost_race_is_neither_written_nor_journalled(database: Database) -> None:
    row = await insert(database)
    await database.execute("UPDATE workflow_executions SET status = 'cancelled by user'")

    await (await store_of(database)).finish_if_running(await begin_pass(database), [failed(row)])

    assert (await database.row(int(str(row.id))))["status"] == "cancelled by user"
    assert await database.fetch("SELECT 1 FROM reconciler.changes") == []


async def test_a_write_that_fails_leaves_neither_row_nor_journal(database: Database) -> None:
    row = await insert(database)

    store, pass_id = await store_of(database), await begin_pass(database)
    await database.execute("DROP TABLE reconciler.changes")

    with pytest.raises(DatabaseUnusable, match=r"cannot write workflow_executions.*changes"):
        await store.finish_if_running(pass_id, [failed(row)])

    assert (await database.row(int(str(row.id))))["status"] == "running"


async def test_does_not_wait_for_a_row_that_someone_is_writing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, free = await insert(database), await insert(database)
    # Nor for as long as a statement may wait for a lock.
    monkeypatch.setattr("reconciler.postgres.connection.engine.LOCK_TIMEOUT", 0)
    engine = open_engine(database.url, statement_timeout=0)
    store, pass_id = PostgresStore(engine, await database.table()), await begin_pass(database)
    other = await asyncpg.connect(database.url)
    try:
        async with other.transaction():
            await other.execute(
                "UPDATE workflow_executions SET status = 'completed' WHERE id = $1", locked.id
            )
            async with deadline():
                written = await store.finish_if_running(pass_id, [failed(locked), failed(free)])
    finally:
        await other.close()
        await engine.dispose()

    assert written.ids == {free.id}
    assert (await database.row(int(str(locked.id))))["status"] == "completed"


async def test_a_reference_to_the_row_does_not_keep_it_from_being_written(
    database: Database,
) -> None:
    row = await insert(database)
    await database.execute(
        "CREATE TABLE step (execution bigint REFERENCES workflow_executions (id))"
    )
    store, pass_id = await store_of(database), await begin_pass(database)
    other = await asyncpg.connect(database.url)
    try:
        async with other.transaction():
            await other.execute(
                "INSERT INTO step VALUES ($1)", row.id
            )  # locks the row FOR KEY SHARE
            written = await store.finish_if_running(pass_id, [failed(row)])
    finally:
        await other.close()

    assert written.ids == {row.id}


async def test_a_stricter_default_isolation_does_not_turn_a_lost_race_into_an_error(
    database: Database,
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
    )
    async with database.engine.connect() as connection:
        shown = await connection.exec_driver_sql("SHOW transaction_isolation")

        assert shown.scalar() == "read committed"


async def test_of_many_writers_at_once_one_wins_each_row(database: Database) -> None:
    rows = [await insert(database, f"wf-{number}") for number in range(40)]
    store, pass_id = await store_of(database), await begin_pass(database)

    results = await asyncio.gather(
        *(
            store.finish_if_running(pass_id, [failed(row) for row in rows[:: 1 if odd else -1]])
            for odd in (True, False, True, False)
        )
    )

    won = [id_ for written in results for id_ in written.ids]
    assert len(won) == len(set(won))
    journalled = await database.fetch("SELECT row_id FROM reconciler.changes")
    assert sorted(str(id_) for id_ in won) == sorted(str(change["row_id"]) for change in journalled)
    assert set(won) == {row.id for row in rows}


async def test_a_trigger_that_raises_costs_its_own_row_only(database: Database) -> None:
    rows = [await insert(database, f"wf-{number}") for number in range(9)]
    await database.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'wf-4 is under audit'; END $$
    """)
    await database.execute("""
        CREATE TRIGGER refuse BEFORE UPDATE ON workflow_executions FOR EACH ROW
        WHEN (OLD.workflow_id = 'wf-4') EXECUTE FUNCTION refuse()
    """)

    written = await (await store_of(database)).finish_if_running(
        await begin_pass(database), [failed(row) for row in rows]
    )

    assert len(written.ids) == 8
    assert "wf-4 is under audit" in written.refused[rows[4].id]


async def test_only_the_three_columns_are_written(database: Database) -> None:
    row = await insert(database)
    await database.execute("ALTER TABLE workflow_executions ADD tenant text DEFAULT 'acme'")
    before = await database.row(int(str(row.id)))

    await (await store_of(database)).finish_if_running(await begin_pass(database), [failed(row)])

    after = await database.row(int(str(row.id)))
    assert {name for name in before if before[name] != after[name]} == {
        "status",
        "completed_at",
        "error_message",
    }


async def test_the_scan_uses_the_partial_index(database: Database) -> None:
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, status)"
        " SELECT 'wf', CASE WHEN n % 100 = 0 THEN 'running' ELSE 'completed' END"
        " FROM generate_series(1, 20000) n"
    )
    await database.execute("ANALYZE workflow_executions")
    table = await database.table()
    query = select_rows(table).where(table.is_running, table.id > 5, table.id <= 20000)
    async with database.engine.connect() as connection:
        compiled = (
            query.order_by(table.id)
            .limit(500)
            .compile(connection.sync_connection, compile_kwargs={"literal_binds": True})
        )
        plan = await connection.exec_driver_sql(f"EXPLAIN {compiled}")
        text = "\n".join(line for (line,) in plan)

    assert "reconciler_workflow_executions_running" in text
    assert "Sort" not in text


async def test_of_two_rows_with_one_key_in_two_partitions_only_the_one_that_was_seen(
    database: Database,
) -> None:
    await database.execute(
        "CREATE TABLE jobs (id int, workflow_id text, run_id text, status text,"
        " created_at timestamptz, completed_at timestamptz, error_message text,"
        " PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);"
        "CREATE TABLE jobs_old PARTITION OF jobs FOR VALUES FROM (MINVALUE) TO ('2026-01-01');"
        "CREATE TABLE jobs_new PARTITION OF jobs FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);"
        "INSERT INTO jobs VALUES (1, 'wf', NULL, 'running', '2025-06-01'),"
        " (1, 'wf', NULL, 'running', '2026-06-01')"
    )
    store = PostgresStore(database.engine, await database.table(TableNames(table="jobs")))
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=NOW)
    await database.history().begin(report)
    old, _ = sorted(await store.scan_running(None, 1, 10), key=lambda row: str(row.created_at))

    await store.finish_if_running(report.pass_id, [outcome(old)])

    rows = await database.fetch("SELECT status FROM jobs ORDER BY created_at")
    assert [row["status"] for row in rows] == ["completed", "running"]
