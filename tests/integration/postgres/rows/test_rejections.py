"""Whatever the database rejects a row for, the other rows of its batch are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import RunRow
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.rows.halving import PATIENCE
from reconciler.postgres.rows.ruled_out import RuledOut
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database, with_user
from tests.support.factories import NOW, outcome

BAD = 7


async def rows_of(database: Database, count: int) -> list[RunRow]:
    made = await database.fetch(
        "INSERT INTO workflow_executions (workflow_id, run_id)"
        " SELECT 'wf-' || n, 'run-1' FROM generate_series(1, $1) n RETURNING id, workflow_id",
        count,
    )
    return [RunRow(int(str(row["id"])), str(row["workflow_id"]), "run-1", NOW) for row in made]


async def begun(database: Database) -> str:
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=NOW)
    await database.history().begin(report)
    return report.pass_id


async def trigger(
    database: Database,
    body: str,
    *,
    when: str = f"OLD.workflow_id = 'wf-{BAD}'",
    timing: str = "BEFORE",
) -> None:
    """A trigger with this body on the row that is bad, or on others."""
    await database.execute(
        f"CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$;"
        f"CREATE OR REPLACE TRIGGER act {timing} UPDATE ON workflow_executions FOR EACH ROW"
        f" WHEN ({when}) EXECUTE FUNCTION act()"
    )


def raising(code: str, words: str = "not this one") -> str:
    return f"BEGIN RAISE EXCEPTION '{words}' USING ERRCODE = '{code}'; END"


async def written(database: Database) -> int:
    rows = await database.fetch("SELECT FROM workflow_executions WHERE status <> 'running'")
    changes = await database.fetch("SELECT FROM reconciler.changes")
    assert len(rows) == len(changes)
    return len(rows)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The writes that go to the server."""
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("WITH locked"):
            asked.append(statement)

    engine = database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


CODES = [
    *("0A000", "22012", "23514", "25006", "28000", "38000", "3D000", "40P01", "42501", "42703"),
    *("42P01", "45000", "53100", "54000", "55000", "55P03", "57014", "58030", "08006", "P0001"),
    *("TI001", "XX000", "XX001", "57P01"),
]


@pytest.mark.parametrize("journalled", [True, False], ids=["journalled", "unjournalled"])
async def test_a_trigger_may_raise_what_it_likes_about_one_row(
    database: Database, journalled: bool
) -> None:
    table, pass_id = await database.table(), await begun(database)
    for code in CODES:
        rows = await rows_of(database, 20)
        await trigger(database, raising(code, code))
        store = PostgresStore(database.engine, table, journalled=journalled)

        done = await store.finish_if_running(pass_id, [outcome(row) for row in rows])

        assert list(done.refused) == [rows[BAD - 1].id]
        (why,) = done.refused.values()
        assert why.startswith(f"{code}, in function act() line 1")
        assert done.ids == {row.id for row in rows} - {rows[BAD - 1].id}, code
        assert done.failure is None, code


async def write(database: Database, rows: Sequence[RunRow], **fields: Any) -> Any:
    store = PostgresStore(database.engine, await database.table())
    outcomes = [outcome(row, **fields) for row in rows]
    return await store.finish_if_running(await begun(database), outcomes)


LOG = "BEGIN INSERT INTO {} VALUES (OLD.id); RETURN NEW; END"
AS_OTHER = "BEGIN SET LOCAL ROLE pg_monitor; {}; RETURN NEW; END"


@pytest.mark.parametrize(
    ("body", "problem", "fix"),
    [
        (
            LOG.format("audit_log"),
            'relation "audit_log" does not exist',
            "write its schema in act(), or ALTER FUNCTION act() SET search_path = …",
        ),
        (
            LOG.format("reconciler.changes (nothing)"),
            'column "nothing" of relation "changes" does not exist',
            "correct act(), which does not fit its tables",
        ),
        (
            AS_OTHER.format("INSERT INTO reconciler.passes DEFAULT VALUES"),
            "permission denied for schema reconciler",
            "GRANT the right to the role, or ALTER FUNCTION act() SECURITY DEFINER",
        ),
        (
            AS_OTHER.format("DELETE FROM jobs"),
            "permission denied for table jobs",
            "GRANT DELETE ON jobs to the role, or ALTER FUNCTION act() SECURITY DEFINER",
        ),
    ],
    ids=["no table", "no column", "no right to a schema", "no right to a table"],
)
async def test_a_triggers_own_statement_fails_with_its_name_and_a_fix(
    database: Database, body: str, problem: str, fix: str
) -> None:
    rows = await rows_of(database, 9)
    await database.execute("CREATE TABLE jobs ()")
    await trigger(database, body)

    done = await write(database, rows)

    assert len(done.ids) == 8
    assert done.refused == {rows[BAD - 1].id: f"{problem}, in function act() line 1: {fix}"}


async def test_an_index_that_takes_no_long_message(database: Database) -> None:
    rows = await rows_of(database, 9)
    await database.execute("CREATE INDEX ON workflow_executions (error_message)")
    store = PostgresStore(database.engine, await database.table())
    long = "".join(chr(0x4E00 + n) for n in range(1990))  # compresses badly
    outcomes = [outcome(row, error_message="short") for row in rows]
    outcomes[3] = replace(outcomes[3], error_message=long)

    done = await store.finish_if_running(await begun(database), outcomes)

    assert list(done.refused) == [rows[3].id]
    assert "index row size" in done.refused[rows[3].id]
    assert len(done.ids) == 8


async def test_a_notification_that_takes_no_long_message(database: Database) -> None:
    rows = await rows_of(database, 9)
    await trigger(database, "BEGIN PERFORM pg_notify('rows', repeat('x', 9000)); RETURN NEW; END")

    done = await write(database, rows)

    assert done.refused == {
        rows[BAD - 1].id: "payload string too long, in function act() line 1: "
        "lower RECONCILER_ERROR_MESSAGE_LIMIT, so that messages fit"
    }
    assert len(done.ids) == 8


async def test_a_policy_that_lets_no_such_row_be_written(database: Database) -> None:
    rows = await rows_of(database, 9)
    role = f"writer_{uuid4().hex[:8]}"
    await database.execute(
        f"CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public, reconciler TO {role};"
        f"GRANT USAGE ON SCHEMA reconciler TO {role};"
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA reconciler TO {role};"
    )
    table, pass_id = await database.table(), await begun(database)
    await database.execute(
        "ALTER TABLE workflow_executions ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON workflow_executions USING (true)"
        f" WITH CHECK (workflow_id <> 'wf-{BAD}')"
    )
    engine = open_engine(with_user(database.url, role))
    try:
        done = await PostgresStore(engine, table).finish_if_running(
            pass_id, [outcome(row) for row in rows]
        )
    finally:
        await engine.dispose()
        await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert len(done.ids) == 8
    assert "row-level security" in done.refused[rows[BAD - 1].id]


@pytest.mark.parametrize(
    "fields",
    [
        {"completed_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
        {"completed_at": "yesterday"},
        {"temporal_status": 5},
        {"final_run_id": "\ud800"},
        {"final_run_id": "a\0b"},
        {"error_message": 5},
    ],
    ids=lambda fields: repr(fields)[:40],
)
async def test_a_value_that_the_driver_or_we_ourselves_stumble_over(
    database: Database, fields: dict[str, Any]
) -> None:
    rows = await rows_of(database, 9)
    store = PostgresStore(database.engine, await database.table())
    outcomes = [outcome(row) for row in rows]
    outcomes[3] = replace(outcomes[3], **fields)

    done = await store.finish_if_running(await begun(database), outcomes)

    assert list(done.refused) == [rows[3].id]
    assert len(done.ids) == 8


async def test_a_key_that_the_column_took_when_it_was_mapped_otherwise(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER id TYPE int")
    rows, table = await rows_of(database, 5), await database.table()
    await database.execute("ALTER TABLE workflow_executions ALTER id TYPE bigint")
    (large,) = await database.fetch(
        "INSERT INTO workflow_executions (id, workflow_id, run_id) OVERRIDING SYSTEM VALUE"
        " VALUES (3000000000, 'wf', 'run-1') RETURNING id"
    )
    rows.append(RunRow(int(str(large["id"])), "wf", "run-1", NOW))
    store = PostgresStore(database.engine, table)

    done = await store.finish_if_running(await begun(database), [outcome(row) for row in rows])

    assert len(done.ids) == 5
    assert "int32" in done.refused[3_000_000_000]


# --- What concerns everything ---------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE workflow_executions RENAME error_message TO why",
        "ALTER TABLE workflow_executions RENAME TO jobs",
        "DROP TABLE reconciler.changes",
        "ALTER TABLE reconciler.changes RENAME old_status TO was",
        "DELETE FROM reconciler.passes",
    ],
)
async def test_what_concerns_everything_is_not_halved(database: Database, change: str) -> None:
    rows, pass_id = await rows_of(database, 20), await begun(database)
    store = PostgresStore(database.engine, await database.table())
    await database.execute(change)
    await database.engine.dispose()

    with statements(database) as asked, pytest.raises(DatabaseUnusable, match="cannot write"):
        await store.finish_if_running(pass_id, [outcome(row) for row in rows])

    assert 1 <= len(asked) <= 2


async def test_a_table_that_is_locked_concerns_everything(database: Database) -> None:
    rows, table, pass_id = (
        await rows_of(database, 20),
        await database.table(),
        await begun(database),
    )
    async with (
        hurried(database, lock=50) as engine,
        database.pool.acquire() as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE workflow_executions IN SHARE MODE")
        with pytest.raises(DatabaseUnusable, match="lock timeout"):
            await PostgresStore(engine, table).finish_if_running(
                pass_id, [outcome(row) for row in rows]
            )


async def test_a_disk_that_is_full_concerns_everything_if_no_row_can_be_written(
    database: Database,
) -> None:
    rows, table = await rows_of(database, 8), await database.table()
    attempts: list[int] = []

    full = asyncpg.DiskFullError("could not extend file: No space left on device")
    full.severity = "ERROR"

    async def attempt(pass_id: str, outcomes: Sequence[object]) -> Any:
        attempts.append(len(outcomes))
        if outcomes:
            raise full

    store = PostgresStore(database.engine, table)
    store._attempt = attempt  # type: ignore[method-assign]

    done = await store.finish_if_running(await begun(database), [outcome(row) for row in rows])

    assert done.failure is not None
    assert "No space left" in str(done.failure)


# --- A part that was committed --------------------------------------------------------------


async def test_what_was_committed_is_reported_when_the_connection_is_lost(
    database: Database,
) -> None:
    """The failing row makes halves; one of them is written, and then nothing can be any more."""
    rows, pass_id = await rows_of(database, 8), await begun(database)
    await trigger(
        database,
        "BEGIN IF (SELECT count(*) FROM reconciler.changes) > 0 THEN"
        " PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END IF;"
        " RAISE 'no'; END",
    )
    await database.execute(
        "CREATE FUNCTION over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT count(*) FROM reconciler.changes) > 0 THEN"
        " PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END IF;"
        " RETURN NULL; END $$;"
        "CREATE TRIGGER over BEFORE UPDATE ON workflow_executions EXECUTE FUNCTION over()"
    )
    store = PostgresStore(database.engine, await database.table())

    done = await store.finish_if_running(pass_id, [outcome(row) for row in rows])

    assert isinstance(done.failure, DatabaseUnusable)
    assert done.ids
    assert rows[BAD - 1].id in done.untried
    assert len(done.ids) + len(done.untried) == 8
    assert await written(database) == len(done.ids)


# --- Too slow -------------------------------------------------------------------------------


@asynccontextmanager
async def hurried(
    database: Database, *, lock: int | None = None, statement: int | None = None
) -> AsyncIterator[Any]:
    """An engine whose limits are these milliseconds."""
    engine = open_engine(database.url)
    limits = {"lock_timeout": lock, "statement_timeout": statement}
    for name, value in limits.items():
        if value is not None:
            dialect: Any = engine.sync_engine.dialect
            dialect.limits += f", set_config('{name}', '{value}', true)"
    try:
        yield engine
    finally:
        await engine.dispose()


async def test_a_trigger_that_takes_its_time_with_each_row(database: Database) -> None:
    rows, table, pass_id = (
        await rows_of(database, 40),
        await database.table(),
        await begun(database),
    )
    await trigger(database, "BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END", when="true")
    async with hurried(database, statement=1500) as engine:
        done = await PostgresStore(engine, table).finish_if_running(
            pass_id, [outcome(row) for row in rows]
        )

    assert (len(done.ids), done.refused, done.failure) == (40, {}, None)


async def test_the_size_that_was_not_too_slow_is_kept(database: Database) -> None:
    """For the rest of the pass; the next one begins with whole batches."""
    table, pass_id = await database.table(), await begun(database)
    await trigger(
        database,
        "BEGIN IF (SELECT count(*) FROM locked_now) >= 4 THEN"
        " RAISE 'slow' USING ERRCODE = '57014'; END IF;"
        " INSERT INTO locked_now VALUES (OLD.id); RETURN NEW; END",
        when="true",
    )
    await database.execute(
        "CREATE TABLE locked_now (id bigint);"
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN DELETE FROM locked_now; RETURN NULL; END $$;"
        "CREATE TRIGGER forget AFTER UPDATE ON workflow_executions"
        " FOR EACH STATEMENT EXECUTE FUNCTION forget()"
    )
    store = PostgresStore(database.engine, table)

    async def pass_over(count: int) -> int:
        rows = await rows_of(database, count)
        done = await store.finish_if_running(pass_id, [outcome(row) for row in rows])
        assert len(done.ids) == count
        return len(asked)

    await database.engine.dispose()
    with statements(database) as asked:
        await pass_over(16)
        asked.clear()
        assert await pass_over(16) == 4
        asked.clear()
        store = PostgresStore(database.engine, table)
        assert await pass_over(16) > 4


async def test_a_row_that_takes_too_long_alone_is_refused(database: Database) -> None:
    rows, table, pass_id = (
        await rows_of(database, 16),
        await database.table(),
        await begun(database),
    )
    await trigger(database, "BEGIN PERFORM pg_advisory_lock(99); RETURN NEW; END")
    async with hurried(database, lock=50) as engine, database.pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock(99)")
        store = PostgresStore(engine, table)
        done = await store.finish_if_running(pass_id, [outcome(row) for row in rows])
        await other.execute("SELECT pg_advisory_unlock(99)")

    assert len(done.ids) == 15
    assert "lock timeout" in done.refused[rows[BAD - 1].id]


async def test_a_deadlock_costs_nobody_but_the_row(database: Database) -> None:
    rows = await rows_of(database, 9)
    await trigger(database, raising("40P01", "deadlock detected"))

    done = await write(database, rows)

    assert len(done.ids) == 8
    assert done.refused == {rows[BAD - 1].id: "deadlock detected, in function act() line 1"}


# --- A rule that rejects everything ---------------------------------------------------------


@pytest.mark.parametrize("words", ["no", "no % please"], ids=["same words", "words of each row"])
async def test_a_rule_that_rejects_everything_is_not_tried_row_by_row(
    database: Database, words: str
) -> None:
    rows, table = await rows_of(database, 2000), await database.table()
    values = ", OLD.id" if "%" in words else ""
    await trigger(
        database, f"BEGIN RAISE '{words}'{values} USING ERRCODE = 'TI001'; END", when="true"
    )
    ruled_out, causes = RuledOut(), set[str]()

    async def pass_over() -> int:
        pass_id = await begun(database)
        store = PostgresStore(database.engine, table, ruled_out=ruled_out)
        asked.clear()
        for start in range(0, 2000, 500):
            batch = [outcome(row) for row in rows[start : start + 500]]
            done = await store.finish_if_running(pass_id, batch)
            assert done.refused.keys() == {each.row.id for each in batch}
            causes.update(done.refused.values())
        return len(asked)

    await database.engine.dispose()
    with statements(database) as asked:
        assert await pass_over() <= PATIENCE + 3 * 20
        assert await pass_over() <= 4 * 20
        assert len(causes) == 1, "reported once"
        await database.execute("DROP TRIGGER act ON workflow_executions")
        pass_id = await begun(database)
        store = PostgresStore(database.engine, table, ruled_out=ruled_out)
        done = await store.finish_if_running(pass_id, [outcome(row) for row in rows])

    assert len(done.ids) == 2000, "what had been given up is tried in each pass"


@pytest.mark.parametrize("rejected", ["OLD.id % 2 = 0", "OLD.id <= 200", "OLD.id > 150"])
async def test_a_rule_that_rejects_many_costs_the_others_nothing(
    database: Database, rejected: str
) -> None:
    rows = await rows_of(database, 250)
    await trigger(database, raising("TI001"), when=rejected)

    done = await write(database, rows)

    bad = await database.fetch(f"SELECT FROM workflow_executions OLD WHERE {rejected}")
    assert len(done.ids) == 250 - len(bad)
    assert len(done.refused) == len(bad)


async def test_rows_that_were_rejected_before_do_not_hold_up_new_ones(database: Database) -> None:
    old, table, ruled_out = await rows_of(database, 200), await database.table(), RuledOut()
    await trigger(database, raising("TI001"), when="OLD.id <= 200")

    async def pass_over(rows: Sequence[RunRow]) -> Any:
        store = PostgresStore(database.engine, table, ruled_out=ruled_out)
        return await store.finish_if_running(await begun(database), [outcome(row) for row in rows])

    await pass_over(old)
    new = await rows_of(database, 3)
    done = await pass_over([*old, *new])

    assert done.ids == {row.id for row in new}
    assert len(done.refused) == 200
