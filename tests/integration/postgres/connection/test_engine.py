"""Connections: nothing outlives its transaction, nothing hangs, errors are one clear line."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.connection.engine import (
    forget_connections,
    open_engine,
    translated,
)
from reconciler.postgres.connection.recovery import is_of_connection
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database
from tests.support.factories import outcome
from tests.support.network.proxy import proxy
from tests.support.network.silent import silent_server
from tests.support.polling import deadline, eventually
from tests.support.servers.lending import with_database
from tests.support.servers.restartable import restartable_postgres


async def use(engine: AsyncEngine, doing: str = "read", statement: str = "SELECT 1") -> None:
    with translated(doing):
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement))


async def test_nothing_outlives_a_transaction(database: Database) -> None:
    """A transaction-mode pooler gives the connection to somebody else after each transaction."""
    await database.insert("wf", "run-1")
    store = PostgresStore(database.engine, await database.table())
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=datetime.now(UTC))
    await database.history().begin(report)
    (row,) = await store.scan_running(None, 1, 10)
    await store.finish_if_running(report.pass_id, [outcome(row)])

    async with database.engine.connect() as connection:
        prepared = await connection.exec_driver_sql("SELECT name FROM pg_prepared_statements")
        assert prepared.all() == [], "not even the statement that asks"
        await connection.rollback()
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        assert await driver.fetch("SELECT * FROM pg_locks WHERE locktype = 'advisory'") == []
        changed = await driver.fetch(
            "SELECT name FROM pg_settings WHERE source = 'session' AND setting <> reset_val"
        )
        assert changed == []


async def test_a_new_connection_is_prepared_inside_transactions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of one, a pooler may change the server connection between two statements."""
    inside: list[bool] = []

    async def spy(dialect: PGDialect_asyncpg, connection: Any) -> None:
        inside.append(connection.driver_connection.is_in_transaction())

    for name in ("setup_asyncpg_json_codec", "setup_asyncpg_jsonb_codec"):
        monkeypatch.setattr(PGDialect_asyncpg, name, spy)
    engine = open_engine(database.url)
    try:
        await use(engine)
    finally:
        await engine.dispose()

    assert inside == [True, True]


async def test_a_connection_that_was_cut_is_replaced(database: Database) -> None:
    await use(database.engine)
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    await use(database.engine)

    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_connection_whose_server_has_said_goodbye_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has hung up too, asyncpg says that something else is under way."""
    await use(database.engine)
    execute = asyncpg.Connection.execute

    async def said_goodbye(self: Any, query: str, **options: Any) -> Any:
        if query == "SELECT":
            raise asyncpg.InternalClientError("another operation is in progress")
        return await execute(self, query, **options)

    monkeypatch.setattr(asyncpg.Connection, "execute", said_goodbye)

    await use(database.engine)


def test_the_rest_of_a_closing_is_reported_as_such() -> None:
    confused = asyncpg.InternalClientError("another operation is in progress")
    expected = pytest.raises(DatabaseUnusable, match="cannot read it: another operation")
    with expected as raised, translated("read it"):
        raise confused

    assert is_of_connection(raised.value)


async def test_every_transaction_is_limited_in_time(database: Database) -> None:
    async with database.engine.connect() as connection:
        limits = await connection.execute(
            sa.text(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
                " current_setting('idle_in_transaction_session_timeout')"
            )
        )
        assert tuple(limits.one()) == ("30s", "5s", "15s")


async def test_a_statement_that_takes_too_long_is_one_clear_line(database: Database) -> None:
    engine = open_engine(database.url, statement_timeout=50)
    try:
        with pytest.raises(DatabaseUnusable, match="cannot wait: canceling statement due to"):
            await use(engine, "wait", "SELECT pg_sleep(10)")
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param(
            "postgresql://u:secret@127.0.0.1:1/db", "unreachable.*check DATABASE_URL", id="refused"
        ),
        pytest.param(
            "postgresql://u:secret@no-such-host.invalid/db", "unreachable.*DATABASE_URL", id="dns"
        ),
        pytest.param(
            "postgresql://u:secret@h/db?sslmode=nonsense", "sslmode.*check DATABASE_URL", id="ssl"
        ),
    ],
)
async def test_a_database_that_cannot_be_had(url: str, message: str) -> None:
    engine = open_engine(url)
    with pytest.raises(DatabaseUnusable, match=message) as refused:
        await use(engine)

    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_url_that_cannot_be_parsed_is_reported_as_such() -> None:
    engine = open_engine("postgresql://u:se[cret@h/db")

    with pytest.raises(DatabaseUnusable, match="DATABASE_URL cannot be parsed") as refused:
        await use(engine)

    assert "cret" not in str(refused.value)


def test_a_bug_is_not_blamed_on_the_url() -> None:
    with pytest.raises(ValueError, match="a bug"), translated("go on"):
        raise ValueError("a bug")


async def test_no_such_database(postgres_url: str) -> None:
    engine = open_engine(with_database(postgres_url, "nowhere"))

    with pytest.raises(DatabaseUnusable, match='"nowhere" does not exist: check DATABASE_URL'):
        await use(engine)


async def test_a_silent_server_does_not_hang_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.postgres.connection.engine.CONNECT_TIMEOUT", 0.5)

    async with silent_server() as silent:
        engine = open_engine(f"postgresql://u@127.0.0.1:{silent.port}/db")
        with pytest.raises(DatabaseUnusable, match="did not answer in time"):
            await use(engine)


async def test_connections_into_a_black_hole_are_forgotten_without_waiting_for_them() -> None:
    async with restartable_postgres() as server, proxy("127.0.0.1", server.port) as network:
        engine = open_engine(server.url.replace(f":{server.port}/", f":{network.port}/"))
        try:
            async with engine.connect() as one, engine.connect() as two:
                for connection in (one, two):
                    await connection.execute(sa.text("SELECT 1"))
            network.blackhole()
            await without_waiting(forget_connections(engine))
            assert engine.pool.checkedin() == 0  # type: ignore[attr-defined]
            network.heal()
            async with deadline(), engine.connect() as connection:
                assert await connection.scalar(sa.text("SELECT 1")) == 1
        finally:
            await engine.dispose()


async def test_a_connection_in_use_when_all_are_forgotten_is_closed_afterwards(
    database: Database,
) -> None:
    """A claim that times out forgets them beside a pass that writes; its pool is gone by then."""
    engine = open_engine(database.url)
    pids: list[int] = []
    try:
        for _ in range(2):
            async with engine.connect() as connection:
                pids.append(await connection.scalar(sa.text("SELECT pg_backend_pid()")))
                await forget_connections(engine)
                await connection.execute(sa.text("SELECT 1"))

        async def are_gone() -> bool:
            alive = "SELECT FROM pg_stat_activity WHERE pid = ANY ($1)"
            return not await database.fetch(alive, pids)

        await eventually(are_gone)
        await use(engine)
        assert engine.pool.checkedin() == 1, "the new pool keeps its own"  # type: ignore[attr-defined]
    finally:
        await engine.dispose()


async def without_waiting(doing: Coroutine[Any, Any, None]) -> None:
    """Do it in a few turns of the loop: no answer can come in between."""
    task = asyncio.create_task(doing)
    for _ in range(20):
        await asyncio.sleep(0)
    assert task.done()
    await task


async def test_an_engine_says_goodbye_in_bounded_time() -> None:
    """SQLAlchemy would wait a minute for each connection of a server that is silent."""
    async with restartable_postgres() as server:
        engine = open_engine(server.url)
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
        server.pause()
        try:
            async with asyncio.timeout(30):  # it takes two
                await engine.dispose()
        finally:
            server.resume()
