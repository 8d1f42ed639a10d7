"""A row that the database cannot read, for real: it hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import OldValues, RunRow
from reconciler.core.report.progress import Span
from reconciler.core.window import Window
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.diagnose.sample import last_rows, oldest_rows
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.rows.halving import PATIENCE
from reconciler.postgres.rows.lookup.stored import find_rows, old_values
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database
from tests.integration.postgres.rows.test_rejections import begun, rows_of
from tests.support.factories import outcome

#: Of a text that is kept out of line.
LENGTH = 6400
MISSING = "missing chunk number 0 for toast value"


async def corrupt(database: Database, column: str, ids: Sequence[object]) -> None:
    """Take away the part of a column's value that is kept out of line."""
    await database.execute(
        "DROP INDEX IF EXISTS ix_workflow_executions_workflow_id;"
        f"ALTER TABLE workflow_executions ALTER {column} SET STORAGE EXTERNAL"
    )
    await database.execute(
        f"UPDATE workflow_executions SET {column} = repeat('y', {LENGTH}) WHERE id = ANY($1)", ids
    )
    ((oid, toast),) = await database.pool.fetch(
        "SELECT oid, oid::regclass::text FROM pg_class WHERE oid ="
        " (SELECT reltoastrelid FROM pg_class WHERE relname = 'workflow_executions')"
    )
    async with database.pool.acquire() as connection:
        await connection.execute(
            "SET allow_system_table_mods = on;"
            f"UPDATE pg_class SET relkind = 'r' WHERE oid = {oid};"
            f"DELETE FROM {toast};"
            f"UPDATE pg_class SET relkind = 't' WHERE oid = {oid}"
        )
        await connection.execute("VACUUM workflow_executions")


async def scanned(store: PostgresStore, limit: int = 500) -> list[RunRow]:
    until = await store.last_running()
    assert until is not None
    rows: list[RunRow] = []
    while page := await store.scan_running(rows[-1].id if rows else None, until, limit):
        rows += page
    return rows


async def store_of(database: Database, **window: Any) -> PostgresStore:
    return PostgresStore(database.engine, await database.table(), Window(**window))


@pytest.mark.parametrize("limit", [500, 4])
async def test_a_corrupted_row_hides_no_other(database: Database, limit: int) -> None:
    rows = await rows_of(database, 20)
    bad = [rows[0].id, rows[7].id, rows[19].id]
    await corrupt(database, "workflow_id", bad)

    seen = await scanned(await store_of(database), limit)

    assert [row.id for row in seen] == [row.id for row in rows]
    assert [row.id for row in seen if row.unreadable] == bad
    assert [row.workflow_id for row in seen if row.id not in bad] == [
        row.workflow_id for row in rows if row.id not in bad
    ]
    assert MISSING in str(seen[7].unreadable)


async def test_the_others_of_its_page_are_written(database: Database) -> None:
    rows = await rows_of(database, 9)
    await corrupt(database, "run_id", [rows[3].id])
    store = await store_of(database)

    readable = [row for row in await scanned(store) if not row.unreadable]
    done = await store.finish_if_running(await begun(database), [outcome(row) for row in readable])

    assert done.ids == {row.id for row in rows} - {rows[3].id}


async def test_a_few_rows_may_all_be_unreadable(database: Database) -> None:
    rows = await rows_of(database, 5)
    await corrupt(database, "workflow_id", [row.id for row in rows])

    seen = await scanned(await store_of(database))

    assert all(row.unreadable for row in seen)
    assert [row.id for row in seen] == [row.id for row in rows]


async def test_a_row_that_another_transaction_keeps_from_being_read_is_not_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a replica: read alone it is neither rejected nor there."""
    rows = await rows_of(database, 9)
    await corrupt(database, "workflow_id", [rows[3].id])

    async def racing(engine: Any, query: Any, given: Any) -> Any:
        if rows[6].id in given.get("some_keys", ()):
            raise asyncpg.SerializationError("conflict with recovery")
        return await fetch(engine, query, given)

    monkeypatch.setattr("reconciler.postgres.rows.reading.fetch", racing)

    seen = await scanned(await store_of(database))

    assert [row.id for row in seen] == [row.id for row in rows]
    assert [row.id for row in seen if row.unreadable] == [rows[3].id, rows[6].id]


async def test_a_page_of_which_nothing_can_be_read_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await rows_of(database, 400)
    await corrupt(database, "workflow_id", [row.id for row in rows])
    store, asked = await store_of(database), []

    async def counted(engine: Any, query: Any, given: Any) -> Any:
        asked.append(query)
        return await fetch(engine, query, given)

    monkeypatch.setattr("reconciler.postgres.rows.reading.fetch", counted)

    with pytest.raises(DatabaseUnusable, match=f"cannot read workflow_executions: {MISSING}"):
        await scanned(store)

    assert PATIENCE < len(asked) < PATIENCE + 10


async def test_what_is_no_matter_of_rows_is_not_read_in_halves(database: Database) -> None:
    store = await store_of(database)
    await rows_of(database, 9)
    until = await store.last_running()
    await database.execute("ALTER TABLE workflow_executions DROP workflow_id CASCADE")

    with pytest.raises(DatabaseUnusable, match="workflow_id does not exist"):
        await store.scan_running(None, until or 0, 10)


async def test_a_count_goes_round_what_cannot_be_read(database: Database) -> None:
    rows = await rows_of(database, 9)
    # As long as the one that is corrupted: PostgreSQL compares lengths first.
    kind = "x" * LENGTH
    await database.execute(
        "ALTER TABLE workflow_executions ALTER workflow_type SET STORAGE PLAIN;"
        f"UPDATE workflow_executions SET workflow_type = '{kind}' WHERE id <> 2"
    )
    await corrupt(database, "workflow_type", [rows[3].id])
    store = await store_of(database, workflow_type=kind)

    counted = await store.count_running(Span(None, rows[-1].id))

    assert counted.rows == 8  # the corrupted one may be in the window: a scan returns it
    assert len(await scanned(store)) == 8


async def test_explain_and_plans_show_the_others(database: Database) -> None:
    ids = [await database.insert("wf", f"run-{n}", error_message="boom") for n in range(5)]
    await corrupt(database, "error_message", ids[2:3])
    table = await database.table()

    found = await find_rows(database.engine, table, "wf")
    old = await old_values(database.engine, table, ids)

    assert [each.row.id for each in found] == ids
    assert [each.error_message for each in found] == ["boom", "boom", None, "boom", "boom"]
    assert MISSING in str(found[2].row.unreadable)
    assert found[2].row.workflow_id == "wf"
    assert old[ids[2]] == OldValues(None, None, None)
    assert [old[id_].error_message for id_ in ids] == ["boom", "boom", None, "boom", "boom"]


async def test_what_the_doctor_reads(database: Database) -> None:
    rows = await rows_of(database, 9)
    await corrupt(database, "workflow_id", [rows[3].id])
    table = await database.table()

    last = await last_rows(database.engine, table, 9)
    oldest = await oldest_rows(database.engine, table, 9, ["default"], "default")

    for read in (last, oldest):
        assert {row.id for row in read} == {row.id for row in rows}
        assert [row.id for row in read if row.unreadable] == [rows[3].id]


async def test_an_undo_compares_the_others(database: Database) -> None:
    rows, pass_id = await rows_of(database, 9), await begun(database)
    store = await store_of(database)
    await store.finish_if_running(pass_id, [outcome(row) for row in rows])
    await corrupt(database, "error_message", [rows[3].id])
    await database.execute(
        "UPDATE reconciler.changes SET old_error_message = repeat('x', 6400),"
        " new_error_message = repeat('x', 6400) WHERE row_id = $1",
        str(rows[3].id),
    )
    journal = PostgresUndo(database.engine, await database.table())
    changes = {each.id: each.row_id for each in await journal.page(pass_id, None, 100)}

    row_states = dict(await journal.row_states(list(changes)))

    bad = next(change for change, row_id in changes.items() if row_id == str(rows[3].id))
    assert MISSING in str(row_states.pop(bad))
    assert all(not isinstance(each, str) and each.has_new for each in row_states.values())
    assert len(row_states) == 8
