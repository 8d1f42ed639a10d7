"""Pooled connections that no longer lead anywhere useful cost one attempt, not all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from reconciler.worker.database import writer
from reconciler.worker.database.writer import RowWriter
from tests.conftest import Database, opened
from tests.integration.worker.test_one_statement import APPLICATIONS, OWN, finish, writing
from tests.support.network.proxy import proxy
from tests.support.polling import PATIENCE
from tests.support.servers.restartable import restartable_postgres

pytestmark = pytest.mark.parametrize("whose", [OWN, APPLICATIONS])
#: Connections in the pool.
FULL = 4


async def fill_pool(writes: RowWriter) -> None:
    """Map the table, then write in parallel."""
    await finish(writes, "v")
    await asyncio.gather(*(finish(writes, "v") for _ in range(FULL)))


@asynccontextmanager
async def administrator(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may write, whatever the database's default is."""
    connection = await asyncpg.connect(
        database.url, server_settings={"default_transaction_read_only": "off"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def end_others(administrator: asyncpg.Connection) -> None:
    await administrator.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_connections_that_are_read_only(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """As after a failover: they were opened while the server accepted no writes."""
    await database.insert("w", "r")
    async with (
        administrator(database) as administration,
        writing(database.url, whose, monkeypatch) as (writes, engine),
    ):
        name = await administration.fetchval("SELECT quote_ident(current_database())")
        await fill_pool(writes)
        await administration.execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = on"
        )
        await engine.dispose()
        with pytest.raises(DatabaseUnusable, match=r"read.only"):
            await finish(writes)
        await asyncio.gather(*(borrow(engine) for _ in range(FULL)))
        await administration.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

        assert await finish(writes) is True


async def borrow(engine: AsyncEngine) -> None:
    """Open a connection that is pooled afterwards."""
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT pg_sleep(0.1)"))


async def test_connections_that_a_server_has_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """With the reason, 57P01, in the answer to the next statement."""
    await database.insert("w", "r")
    async with (
        administrator(database) as administration,
        writing(database.url, whose, monkeypatch) as (writes, _),
    ):
        await fill_pool(writes)
        await end_others(administration)

        assert await finish(writes) is True


async def test_connections_that_the_network_has_dropped(
    monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    async with restartable_postgres() as server, proxy("127.0.0.1", server.port) as network:
        await migrate(server.url, TableMapping())
        url = make_url(server.url).set(port=network.port).render_as_string(hide_password=False)
        async with opened(server.url) as database, writing(url, whose, monkeypatch) as (writes, _):
            await database.insert("w", "r")
            await fill_pool(writes)
            network.forget()
            monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.5)
            with pytest.raises(DatabaseUnusable, match="no answer from the database"):
                await finish(writes)
            monkeypatch.setattr(writer, "WRITE_TIMEOUT", PATIENCE)

            assert await finish(writes) is True
            network.cut()  # the application would wait to close what it has not used again
