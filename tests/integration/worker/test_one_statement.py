"""The write is one statement without a transaction, and loses nothing by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from reconciler.core.errors import DatabaseUnusable
from reconciler.worker.database import writer
from reconciler.worker.database.sources import Sources
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.integration.test_through_a_pooler import AS_DOCUMENTED
from tests.support.polling import eventually
from tests.support.servers.pooler import pooler

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Whose engine it is.
OWN, APPLICATIONS = "own", "the application's"


@asynccontextmanager
async def writing(
    url: str, whose: str, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[tuple[RowWriter, AsyncEngine]]:
    monkeypatch.setenv("DATABASE_URL", url)
    application = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"), connect_args=options
    )
    opened = Sources(None if whose == OWN else application).of().open()
    try:
        yield opened, opened._engine
    finally:
        await opened.close()
        await application.dispose()


async def finish(opened: RowWriter, workflow_id: str = "w") -> bool:
    return await opened.finish(EndReport(workflow_id, "completed", "r", NOON), None, NOON)


@asynccontextmanager
async def locked(database: Database, sql: str) -> AsyncIterator[asyncpg.Connection]:
    """An open transaction that has executed this."""
    other = await asyncpg.connect(database.url)
    try:
        async with other.transaction():
            await other.execute(sql)
            yield other
    finally:
        await other.close()


async def waiting(database: Database) -> int:
    return len(
        await database.fetch(
            "SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("where", [None, "tenant=7,8"])
@pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
async def test_it_needs_neither_begin_nor_commit_nor_type_lookups(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str, where: str | None
) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD tenant int DEFAULT 8")
    await database.insert("w", "r")
    if where is not None:
        monkeypatch.setenv("RECONCILER_WHERE", where)
    queries: list[str] = []
    async with writing(database.url, whose, monkeypatch) as (opened, engine):
        assert await finish(opened, "v") is False
        await engine.dispose()

        @sa.event.listens_for(engine.sync_engine, "connect")  # after the dialect's own set-up
        def listen(connection: Any, _: object) -> None:
            connection.driver_connection.add_query_logger(lambda each: queries.append(each.query))

        assert await finish(opened) is True

    assert queries == [], "prepared statements are not logged"


@pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
async def test_a_timeout_cancels_the_statement_on_the_server(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Parsing the statement waits for the table lock, before the statement can set a limit."""
    await database.insert("w", "r")
    async with writing(database.url, whose, monkeypatch) as (opened, _):
        await finish(opened, "v")
        monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.5)
        async with locked(database, "LOCK TABLE workflow_executions"):
            with pytest.raises(DatabaseUnusable, match="no answer from the database"):
                await finish(opened)

            await eventually(lambda: is_unlocked(database))


async def is_unlocked(database: Database) -> bool:
    return not await waiting(database)


@pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
async def test_a_timeout_cancels_the_statement_behind_a_pooler(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    await database.insert("w", "r")
    monkeypatch.setattr(writer, "LOCK_TIMEOUT", 10_000)  # in case the pooler drops the cancellation
    async with (
        pooler(database.url) as here,
        writing(here.url, whose, monkeypatch, **AS_DOCUMENTED) as (opened, _),
    ):
        await finish(opened, "v")
        monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.5)
        async with locked(database, "UPDATE workflow_executions SET run_id = 'r'"):
            with pytest.raises(DatabaseUnusable, match="no answer from the database"):
                await finish(opened)

            await eventually(lambda: is_unlocked(database))


@pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
async def test_a_dead_connection_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    await database.insert("w", "r")
    async with writing(database.url, whose, monkeypatch) as (opened, _):
        await asyncio.gather(*(finish(opened, "v") for _ in range(3)))
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await eventually(lambda: is_alone(database))

        assert await finish(opened) is True


async def is_alone(database: Database) -> bool:
    others = await database.fetch(
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return not others


@pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_concurrent_change_is_no_error_under_strict_isolation(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str, isolation: str
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"
    )
    await database.insert("w", created_at=NOON)
    async with writing(database.url, whose, monkeypatch) as (opened, _):
        await finish(opened, "v")
        async with locked(database, "UPDATE workflow_executions SET run_id = 'r'"):
            write = asyncio.create_task(finish(opened))
            await eventually(lambda: somebody_waits(database))

        assert await write is True


async def somebody_waits(database: Database) -> bool:
    return bool(await waiting(database))


async def test_listeners_on_begin_run(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications often set the tenant for row-level security there."""
    await database.insert("w", "r")
    await database.execute("""
        CREATE FUNCTION sign() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.error_message = current_setting('app.tenant', true); RETURN NEW; END $$;
        CREATE TRIGGER sign BEFORE UPDATE ON workflow_executions
        FOR EACH ROW EXECUTE FUNCTION sign();
    """)
    async with writing(database.url, APPLICATIONS, monkeypatch) as (opened, engine):

        @sa.event.listens_for(engine.sync_engine, "begin")
        def set_tenant(connection: sa.Connection) -> None:
            connection.exec_driver_sql("SET LOCAL app.tenant = 'acme'")

        assert await finish(opened) is True

    rows = await database.fetch("SELECT status, error_message FROM workflow_executions")
    assert rows == [{"status": "completed", "error_message": "acme"}]


@pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
async def test_a_backslash_in_a_value_is_safe(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(f'ALTER DATABASE "{name}" SET standard_conforming_strings = off')
    await database.insert("w", "r", status="completed")
    await database.insert("v", "r", status=r"x\' OR true --")
    monkeypatch.setenv("RECONCILER_STATUSES__RUNNING", r"x\' OR true --")
    async with writing(database.url, whose, monkeypatch) as (opened, _):
        assert await finish(opened) is False
        assert await finish(opened, "v") is True
