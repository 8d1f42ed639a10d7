"""The transactions of a pass: limited, and never left open on a connection that is used again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from reconciler.postgres.connection import engine as engine_module
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.rejection import said, words_of
from tests.conftest import Database
from tests.integration.postgres.rows.test_write import begin_pass, insert, store_of
from tests.support.factories import outcome
from tests.support.polling import eventually

SETTINGS = (
    *("lock_timeout", "statement_timeout", "standard_conforming_strings"),
    *("transaction_isolation", "transaction_read_only"),
)


async def pooled_process(database: Database) -> int:
    ((process,),) = await fetch(database.engine, sa.text("SELECT pg_backend_pid()"))
    return int(process)


async def test_limits_isolation_and_access_are_set_whatever_the_database_has(
    database: Database,
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    for setting, value in {
        "default_transaction_isolation": "serializable",
        "standard_conforming_strings": "off",
    }.items():
        await database.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    shown = sa.select(*(sa.func.current_setting(each) for each in SETTINGS))

    assert await fetch(database.engine, shown) == [("5s", "30s", "on", "read committed", "on")]


async def test_only_a_write_is_planned_for_any_batch(database: Database) -> None:
    row = await insert(database, "wf")
    await database.execute("""
        CREATE FUNCTION show_mode() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.error_message = current_setting('plan_cache_mode'); RETURN NEW; END $$;
        CREATE TRIGGER show_mode BEFORE UPDATE ON workflow_executions
        FOR EACH ROW EXECUTE FUNCTION show_mode();
    """)
    store, pass_id = await store_of(database), await begin_pass(database)

    written = await store.finish_if_running(pass_id, [outcome(row)])
    assert not written.refused

    rows = await database.fetch("SELECT error_message FROM workflow_executions")
    assert rows == [{"error_message": "force_generic_plan"}]
    mode = sa.select(sa.func.current_setting("plan_cache_mode"))
    assert await fetch(database.engine, mode) == [("auto",)], "on the same connection"


async def test_nothing_of_a_transaction_is_left_on_its_connection(database: Database) -> None:
    await pooled_process(database)
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert not driver.is_in_transaction()
        assert await driver.fetchval("SELECT current_setting('lock_timeout')") == "0"


async def test_after_a_statement_that_was_refused_its_connection_is_used_again(
    database: Database,
) -> None:
    before = await pooled_process(database)

    with pytest.raises(DBAPIError) as refused:
        await fetch(database.engine, sa.text("SELECT 1 / 0"))

    assert words_of(said(refused.value)) == "division by zero"
    assert await pooled_process(database) == before


async def test_after_a_statement_that_was_cancelled_its_connection_is_closed(
    database: Database,
) -> None:
    before = await pooled_process(database)
    waiting = asyncio.create_task(fetch(database.engine, sa.text("SELECT pg_sleep(60)")))
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


async def test_after_a_statement_that_had_no_answer_its_connection_is_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ROLLBACK on it would wait as long again."""
    monkeypatch.setattr(engine_module, "COMMAND_TIMEOUT", 0.5)
    async with using_engine(database.url) as engine:
        process = sa.text("SELECT pg_backend_pid()")
        before = await fetch(engine, process)

        with pytest.raises(TimeoutError):
            await fetch(engine, sa.text("SELECT pg_sleep(60)"))

        assert await fetch(engine, process) != before


async def test_a_connection_that_was_lost_in_a_transaction_says_why(database: Database) -> None:
    with pytest.raises(DBAPIError) as lost:
        await fetch(database.engine, sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert "administrator command" in words_of(said(lost.value))
    assert await pooled_process(database)


async def test_a_refused_row_is_reported_without_the_details_which_are_its_values(
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
