"""A row counts as written if it says what was to be written, whatever triggers make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from reconciler.core.model import Outcome, RunRow
from reconciler.core.ports import Written
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.undo import run_undo
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.integration.postgres.rows.test_rejections import BAD, begun, rows_of, trigger
from tests.support.factories import CLOSE_TIME, NOW, outcome

TABLE = "workflow_executions"


def failed(row: RunRow) -> Outcome:
    return outcome(row, status="failed", error_message="  boom, " * 20, temporal_status="FAILED")


async def write(
    database: Database,
    rows: Sequence[RunRow],
    *,
    journalled: bool = True,
    table: str = TABLE,
    names: TableNames | None = None,
) -> tuple[Written, str]:
    mapped = await database.table(names or TableNames(table=table))
    pass_id = await begun(database)
    store = PostgresStore(database.engine, mapped, journalled=journalled)
    return await store.finish_if_running(pass_id, [failed(row) for row in rows]), pass_id


async def undo(
    database: Database, pass_id: str, table: str = TABLE, names: TableNames | None = None
) -> UndoReport:
    report = UndoReport(str(uuid4()), PassRequest("undo"), started_at=NOW, undone=pass_id)
    mapped = await database.table(names or TableNames(table=table))
    journal = PostgresUndo(database.engine, mapped)
    return await run_undo(journal, database.history(), report, 500)


CHANGE = "UPDATE workflow_executions SET status = 'x' WHERE id = OLD.id"
AFTER = f"BEGIN IF NEW.status <> 'x' THEN {CHANGE}; END IF; RETURN NULL; END"
SPOILING = {
    "another status": ("BEGIN NEW.status := 'x'; RETURN NEW; END", "BEFORE", "status to 'x'"),
    "the old status": ("BEGIN NEW.status := OLD.status; RETURN NEW; END", "BEFORE", "'running'"),
    "no status": ("BEGIN NEW.status := NULL; RETURN NEW; END", "BEFORE", "null value in column"),
    "the old row": ("BEGIN RETURN OLD; END", "BEFORE", "status to 'running'"),
    "no row": ("BEGIN RETURN NULL; END", "BEFORE", "a trigger skipped it"),
    "another status later": (AFTER, "AFTER", "status to 'x' after the update"),
    "no row later": (
        "BEGIN DELETE FROM workflow_executions WHERE id = OLD.id; RETURN NULL; END",
        "AFTER",
        "deleted the row",
    ),
}


@pytest.mark.parametrize("name", SPOILING)
@pytest.mark.parametrize("journalled", [True, False], ids=["journalled", "unjournalled"])
async def test_a_row_that_says_something_else_is_rolled_back_and_refused(
    database: Database, name: str, journalled: bool
) -> None:
    rows, (body, timing, words) = await rows_of(database, 9), SPOILING[name]
    await trigger(database, body, timing=timing)
    bad = rows[BAD - 1].id
    before = await database.row(int(str(bad)))

    done, _ = await write(database, rows, journalled=journalled)

    assert done.ids == {row.id for row in rows} - {bad}
    assert words in done.refused[bad]
    assert list(done.refused) == [bad]
    assert await database.row(int(str(bad))) == before
    changes = await database.fetch("SELECT row_id FROM reconciler.changes")
    journal = {change["row_id"] for change in changes}
    assert journal == ({str(id_) for id_ in done.ids} if journalled else set())


async def test_a_deferred_trigger_that_puts_the_old_status_back(database: Database) -> None:
    rows = await rows_of(database, 9)
    await trigger(database, "BEGIN RETURN NEW; END")
    await database.execute(
        "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE workflow_executions SET status = 'running' WHERE id = NEW.id AND status <>"
        " 'running'; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER back AFTER UPDATE ON workflow_executions DEFERRABLE INITIALLY"
        f" DEFERRED FOR EACH ROW WHEN (NEW.workflow_id = 'wf-{BAD}') EXECUTE FUNCTION back()"
    )

    done, _ = await write(database, rows)

    assert list(done.refused) == [rows[BAD - 1].id]
    assert len(done.ids) == 8


async def test_an_after_trigger_that_leaves_the_status_is_let_be(database: Database) -> None:
    rows = await rows_of(database, 9)
    await database.execute("ALTER TABLE workflow_executions ADD touched timestamptz")
    await trigger(
        database,
        "BEGIN IF NEW.touched IS NULL THEN UPDATE workflow_executions SET touched = now()"
        " WHERE id = NEW.id; END IF; RETURN NULL; END",
        timing="AFTER",
    )

    done, _ = await write(database, rows)

    assert len(done.ids) == 9


async def test_a_trigger_of_one_partition(database: Database) -> None:
    await database.execute(
        "CREATE TABLE jobs (id int, workflow_id text, run_id text, status text,"
        " created_at timestamptz, completed_at timestamptz, error_message text,"
        " PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);"
        "CREATE TABLE jobs_old PARTITION OF jobs FOR VALUES FROM (MINVALUE) TO ('2026-01-01');"
        "CREATE TABLE jobs_new PARTITION OF jobs FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);"
        "INSERT INTO jobs VALUES (1, 'wf', NULL, 'running', '2025-06-01'),"
        " (2, 'wf', NULL, 'running', '2026-06-01');"
        "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE jobs SET"
        " status = 'running' WHERE id = NEW.id AND status <> 'running'; RETURN NULL; END $$;"
        "CREATE TRIGGER back AFTER UPDATE ON jobs_old FOR EACH ROW EXECUTE FUNCTION back()"
    )
    mapped = await database.table(TableNames(table="jobs"))
    rows = await PostgresStore(database.engine, mapped).scan_running(None, 2, 2)

    done, _ = await write(database, rows, table="jobs")

    assert done.ids == {2}
    assert list(done.refused) == [1]


async def test_if_all_rows_say_something_else_one_statement_tells(database: Database) -> None:
    rows = await rows_of(database, 50)
    await trigger(database, "BEGIN NEW.status := 'x'; RETURN NEW; END", when="true")

    done, _ = await write(database, rows)

    assert len(done.refused) == 50
    assert set(done.refused.values()) == {"a trigger changed the status to 'x'"}


async def test_what_a_column_rounds_and_a_trigger_clips_is_journalled_and_undone(
    database: Database,
) -> None:
    rows = await rows_of(database, 3)
    await database.execute("ALTER TABLE workflow_executions ALTER completed_at TYPE timestamptz(0)")
    await trigger(
        database,
        "BEGIN NEW.error_message := left(NEW.error_message, 6); RETURN NEW; END",
        when="NEW.error_message IS NOT NULL",
    )
    before = await database.fetch("SELECT * FROM workflow_executions ORDER BY id")

    done, pass_id = await write(database, rows)

    assert len(done.ids) == 3
    (change, *_) = await database.fetch("SELECT * FROM reconciler.changes")
    assert change["new_completed_at"] == CLOSE_TIME.replace(microsecond=0)
    assert change["new_error_message"] == "  boom"
    assert change["close_time"] == CLOSE_TIME
    assert (await undo(database, pass_id)).written == {"running": 3}
    assert await database.fetch("SELECT * FROM workflow_executions ORDER BY id") == before


@pytest.mark.parametrize("names", [TableNames(completed_at=None), TableNames(error_message=None)])
@pytest.mark.parametrize("triggers", [False, True])
async def test_what_the_table_has_no_column_for_is_in_the_journal_and_undone(
    database: Database, names: TableNames, *, triggers: bool
) -> None:
    rows = await rows_of(database, 3)
    if triggers:
        await trigger(database, "BEGIN RETURN NULL; END", when="true", timing="AFTER")
    before = await database.fetch("SELECT * FROM workflow_executions ORDER BY id")

    _, pass_id = await write(database, rows, names=names)

    (change, *_) = await database.fetch("SELECT * FROM reconciler.changes")
    assert change["new_error_message"] == "  boom, " * 20
    assert change["close_time"] == CLOSE_TIME
    assert (await undo(database, pass_id, names=names)).written == {"running": 3}
    assert await database.fetch("SELECT * FROM workflow_executions ORDER BY id") == before


async def test_a_key_that_a_trigger_changes_is_no_lost_race(database: Database) -> None:
    rows = await rows_of(database, 3)
    await database.execute("ALTER TABLE workflow_executions ALTER id DROP IDENTITY")
    await trigger(database, "BEGIN NEW.id := OLD.id + 100; RETURN NEW; END", when="OLD.id = 2")

    done, pass_id = await write(database, rows)

    assert done.ids == {1, 2, 3}
    changes = await database.fetch("SELECT row_id FROM reconciler.changes ORDER BY id")
    assert {change["row_id"] for change in changes} == {"1", "3", "102"}
    assert (await undo(database, pass_id)).written == {"running": 3}


async def test_a_key_that_a_trigger_changes_on_a_table_with_triggers_that_come_later(
    database: Database,
) -> None:
    rows = await rows_of(database, 3)
    await database.execute("ALTER TABLE workflow_executions ALTER id DROP IDENTITY")
    await trigger(database, "BEGIN NEW.id := OLD.id + 100; RETURN NEW; END", when="OLD.id = 2")
    await database.execute(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER later AFTER UPDATE ON workflow_executions FOR EACH ROW"
        " EXECUTE FUNCTION nothing()"
    )

    done, _ = await write(database, rows)

    assert done.ids == {1, 2, 3}


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "values", "read"),
    [
        ("numeric", "'NaN'", Decimal),
        ("float8", "'NaN'", float),
        ("float4", "'NaN'", float),
        ("float8", "'-Infinity'", float),
        ("numeric", "1.50", Decimal),
    ],
)
async def test_a_key_that_does_not_equal_itself(
    database: Database, kind: str, values: str, read: Callable[[str], Any]
) -> None:
    await rows_of(database, 1)
    await database.execute(
        "ALTER TABLE workflow_executions ALTER id DROP IDENTITY;"
        f"ALTER TABLE workflow_executions ALTER id TYPE {kind};"
        f"UPDATE workflow_executions SET id = {values}"
    )
    store = PostgresStore(database.engine, await database.table())
    until = await store.last_running()
    assert until is not None
    rows = await store.scan_running(None, until, 10)

    done, pass_id = await write(database, rows)

    assert len(done.ids) == 1
    assert rows[0].id in done.ids
    assert isinstance(rows[0].id, read)  # type: ignore[arg-type]
    assert (await undo(database, pass_id)).written == {"running": 1}


@pytest.mark.parametrize("name", [name for name in SPOILING if name != "the old status"])
async def test_an_undo_puts_back_the_others(database: Database, name: str) -> None:
    rows, (body, timing, words) = await rows_of(database, 9), SPOILING[name]
    _, pass_id = await write(database, rows)
    bad = int(str(rows[BAD - 1].id))
    before = await database.row(bad)
    if name == "the old row":
        words = "status to 'failed'"
    await trigger(database, body, timing=timing)

    done = await undo(database, pass_id)

    assert done.written == {"running": 8}
    assert {reason.value: count for reason, count in done.left.items()} == {"refused": 1}
    assert await database.row(bad) == before
    journal = PostgresUndo(database.engine, await database.table())
    (change,) = await database.fetch(
        "SELECT id FROM reconciler.changes WHERE row_id = $1 AND temporal_status <> 'UNDO'",
        str(bad),
    )
    number = int(str(change["id"]))
    assert words in (await journal.restore(await begun(database), [number])).refused[number]


async def test_times_are_shown_in_utc_whatever_they_are_rounded_to(database: Database) -> None:
    rows = await rows_of(database, 1)
    await database.execute("ALTER TABLE workflow_executions ALTER completed_at TYPE timestamp(3)")

    await write(database, rows)

    (change,) = await database.fetch("SELECT new_completed_at AS at FROM reconciler.changes")
    assert change["at"] == datetime(2026, 11, 23, 11, 59, 58, 123000, UTC)
