"""Statements that go past SQLAlchemy: as limited and as careful as all others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from reconciler.postgres.connection.driver import Statement, compiled, fetch_within, transaction
from reconciler.postgres.rows.rejection import words_of
from tests.conftest import Database
from tests.integration.postgres.rows.test_write import begin_pass, insert, store_of
from tests.support.factories import outcome
from tests.support.polling import eventually

SETTINGS = (
    *("lock_timeout", "statement_timeout", "standard_conforming_strings"),
    *("transaction_isolation", "transaction_read_only"),
)


async def read(
    database: Database, statement: Statement, *, writing: bool = False
) -> Sequence[Sequence[Any]]:
    async with transaction(database.engine, writing=writing) as driver:
        rows = await fetch_within(driver, statement, {})
    return [tuple(row) for row in rows]


def bare(sql: str) -> Statement:
    return Statement(sql, (), {})


async def pooled_process(database: Database) -> int:
    ((process,),) = await read(database, bare("SELECT pg_backend_pid()"))
    return int(process)


@contextmanager
def asked(database: Database) -> Iterator[list[str]]:
    """What goes to the server over connections that are new."""
    queries: list[str] = []

    def listen(connection: Any, _: object) -> None:
        connection.driver_connection.add_query_logger(lambda each: queries.append(each.query))

    engine = database.engine.sync_engine
    sa.event.listen(engine, "connect", listen)
    try:
        yield queries
    finally:
        sa.event.remove(engine, "connect", listen)


@pytest.mark.parametrize(("writing", "read_only"), [(True, "off"), (False, "on")])
async def test_limits_isolation_and_access_are_set_whatever_the_database_has(
    database: Database, writing: bool, read_only: str
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    for setting, value in {
        "default_transaction_isolation": "serializable",
        "default_transaction_read_only": "on" if writing else "off",
        "standard_conforming_strings": "off",
    }.items():
        await database.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    shown = sa.select(*(sa.func.current_setting(each) for each in SETTINGS))

    rows = await read(database, compiled(shown, database.engine), writing=writing)

    assert rows == [("5s", "30s", "on", "read committed", read_only)]


async def test_a_write_is_planned_for_any_batch_and_a_page_for_itself(database: Database) -> None:
    mode = bare("SELECT current_setting('plan_cache_mode')")

    assert await read(database, mode, writing=True) == [("force_generic_plan",)]
    assert await read(database, mode) == [("auto",)], "on the same connection"


async def test_nothing_of_a_transaction_is_left_on_its_connection(database: Database) -> None:
    await pooled_process(database)
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert not driver.is_in_transaction()
        assert await driver.fetchval("SELECT current_setting('lock_timeout')") == "0"


async def test_a_batch_is_begun_limited_and_written_in_as_many_queries_as_it_takes(
    database: Database,
) -> None:
    rows = [await insert(database, f"wf-{number}") for number in range(3)]
    store, pass_id = await store_of(database), await begin_pass(database)
    await database.engine.dispose()
    with asked(database) as queries:
        await store.finish_if_running(pass_id, [outcome(rows[0])])  # learns the types of arrays
        queries.clear()

        await store.finish_if_running(pass_id, [outcome(row) for row in rows])

    ping, begin, write, commit = queries
    assert ping == "SELECT"
    assert begin.startswith("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL")
    assert write.startswith("WITH locked AS")
    assert commit == "COMMIT"


async def test_after_a_statement_that_was_refused_the_connection_goes_on(
    database: Database,
) -> None:
    before = await pooled_process(database)

    with pytest.raises(asyncpg.DivisionByZeroError) as refused:
        await read(database, bare("SELECT 1 / 0"))

    assert words_of(refused.value) == "division by zero"
    assert await pooled_process(database) == before


async def test_after_a_statement_that_was_cancelled_the_connection_is_not_used_again(
    database: Database,
) -> None:
    before = await pooled_process(database)
    waiting = asyncio.create_task(read(database, bare("SELECT pg_sleep(60)")))
    await eventually(lambda: is_asleep(database))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await pooled_process(database) != before
    await eventually(lambda: is_gone(database, before))


async def is_asleep(database: Database) -> bool:
    return bool(await database.fetch("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))


async def is_gone(database: Database, process: int) -> bool:
    return not await database.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", process)


async def test_a_connection_that_was_lost_in_a_transaction_says_why(database: Database) -> None:
    with pytest.raises(asyncpg.PostgresError, match="administrator command"):
        await read(database, bare("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert await pooled_process(database)


async def test_a_refused_row_is_told_without_the_details_which_are_its_values(
    database: Database,
) -> None:
    row = await insert(database, "secret-customer")
    await database.execute(
        "ALTER TABLE workflow_executions ADD CHECK (workflow_id = '' OR status = 'running')"
    )
    store, pass_id = await store_of(database), await begin_pass(database)

    written = await store.finish_if_running(pass_id, [outcome(row)])

    assert "violates check constraint" in written.refused[row.id]
    assert "secret-customer" not in written.refused[row.id]
