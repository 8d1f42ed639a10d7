"""A row whose write ends the connection stops no other row; what cannot be written at all does."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.rows.ruled_out import RuledOut
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database
from tests.integration.postgres.rows.test_rejections import (
    BAD,
    begun,
    rows_of,
    statements,
    trigger,
    write,
    written,
)
from tests.integration.postgres.rows.test_what_rows_say import undo
from tests.support.factories import outcome
from tests.support.polling import eventually

ENDS = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1)"
WORDS = "terminating connection due to administrator command, in function act() line 1"


async def test_a_row_that_ends_its_connection_costs_no_other(database: Database) -> None:
    rows, table, ruled_out = await rows_of(database, 40), await database.table(), RuledOut()
    await trigger(database, f"BEGIN {ENDS}; RETURN NEW; END")

    async def pass_over() -> Any:
        store = PostgresStore(database.engine, table, ruled_out=ruled_out)
        return await store.finish_if_running(await begun(database), [outcome(row) for row in rows])

    done = await pass_over()

    bad = rows[BAD - 1].id
    assert done.ids == {row.id for row in rows} - {bad}
    assert (done.refused, done.failure) == ({bad: WORDS}, None)
    assert await written(database) == 39
    rows += await rows_of(database, 3)
    await database.engine.dispose()
    with statements(database) as asked:
        done = await pass_over()
    assert len(done.ids) == 3
    assert done.refused == {bad: WORDS}
    assert len(asked) == 3, "all but that row, that row, and no row"


async def test_an_undo_puts_back_the_others(database: Database) -> None:
    rows = await rows_of(database, 9)
    await write(database, rows)
    (line, *_) = await database.fetch("SELECT pass_id FROM reconciler.changes")
    await database.execute(
        "UPDATE workflow_executions SET error_message = 'by the application' WHERE id < 3"
    )
    await trigger(database, f"BEGIN {ENDS}; RETURN NEW; END")

    done = await undo(database, str(line["pass_id"]))

    assert (done.written, done.error) == ({"running": 6}, None)
    left = {reason.value: count for reason, count in done.left.items()}
    assert left == {"changed": 2, "refused": 1}


async def test_a_server_that_lets_nobody_in_again_ends_it(database: Database) -> None:
    rows = await rows_of(database, 9)
    await trigger(database, f"BEGIN {ENDS}; RETURN NEW; END")
    store, pass_id = PostgresStore(database.engine, await database.table()), await begun(database)
    await database.engine.dispose()
    connects = 0

    def once(*_: object) -> None:
        nonlocal connects
        connects += 1
        if connects > 1:
            raise ConnectionRefusedError

    sa.event.listen(database.engine.sync_engine, "do_connect", once)
    with pytest.raises(DatabaseUnusable, match=re.escape(WORDS)):
        await store.finish_if_running(pass_id, [outcome(row) for row in rows])

    sa.event.remove(database.engine.sync_engine, "do_connect", once)
    assert connects == 2
    assert await written(database) == 0


async def test_a_commit_that_was_not_answered_is_not_tried_again(database: Database) -> None:
    """It may have come off: the rows would then be taken for somebody else's."""
    rows, table, pass_id = (
        await rows_of(database, 9),
        await database.table(),
        await begun(database),
    )
    await database.execute(
        f"CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {ENDS}; RETURN NULL;"
        " END $$; CREATE CONSTRAINT TRIGGER act AFTER UPDATE ON workflow_executions"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION act()"
    )
    await database.engine.dispose()

    with statements(database) as asked, pytest.raises(DatabaseUnusable, match=re.escape(WORDS)):
        await PostgresStore(database.engine, table).finish_if_running(
            pass_id, [outcome(row) for row in rows]
        )

    assert len(asked) == 1
    assert await written(database) == 0


async def test_rows_that_a_lost_statement_has_locked_are_waited_for(database: Database) -> None:
    """The server continues a statement whose connection a pooler has cut off."""
    rows, table, pass_id = (
        await rows_of(database, 9),
        await database.table(),
        await begun(database),
    )
    await trigger(database, "BEGIN PERFORM pg_advisory_xact_lock(99); RETURN NEW; END")
    drivers: list[Any] = []
    await database.engine.dispose()
    sa.event.listen(
        database.engine.sync_engine,
        "connect",
        lambda connection, _: drivers.append(connection.driver_connection),
    )

    async def waits() -> bool:
        locks = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(await database.fetch(locks))

    async with database.pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock(99)")
        with statements(database) as asked:
            store = PostgresStore(database.engine, table)
            writing = asyncio.ensure_future(
                store.finish_if_running(pass_id, [outcome(row) for row in rows])
            )
            await eventually(waits)
            drivers[0].terminate()
            await eventually(lambda: _asked(asked, 4))
            await other.execute("SELECT pg_advisory_unlock(99)")
            done = await writing

    assert done.ids == {row.id for row in rows}
    assert (done.refused, done.failure) == ({}, None)


async def _asked(asked: list[str], count: int) -> bool:
    return len(asked) >= count
