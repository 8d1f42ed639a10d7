"""The poolers that other tests use: PgBouncer, and its stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.conftest import Database
from tests.support.servers.pooler import KINDS, Pooler, pooler


@asynccontextmanager
async def client(of: Pooler, query: str = "") -> AsyncIterator[Any]:
    connection = await asyncpg.connect(of.url + query, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close(timeout=2)


async def server(connection: Any) -> int:
    async with connection.transaction():
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


@pytest.mark.parametrize("kind", KINDS)
class TestInTransactionMode:
    async def test_each_transaction_of_a_client_may_get_another_server(
        self, database: Database, kind: str
    ) -> None:
        async with (
            pooler(database.url, kind=kind) as here,
            client(here) as one,
            client(here) as two,
        ):
            first = await server(one)
            async with two.transaction():
                assert await two.fetchval("SELECT pg_backend_pid()") == first
                assert await server(one) != first

    async def test_what_one_client_leaves_behind_the_next_one_finds(
        self, database: Database, kind: str
    ) -> None:
        async with (
            pooler(database.url, kind=kind, size=1) as here,
            client(here) as one,
            client(here) as two,
        ):
            await one.execute("SET lock_timeout = '7s'; PREPARE forgotten AS SELECT 1")

            assert await two.fetchval("SHOW lock_timeout") == "7s"
            assert await two.fetch("EXECUTE forgotten")

    async def test_the_transaction_of_a_client_that_disconnects_is_rolled_back(
        self, database: Database, kind: str
    ) -> None:
        async with pooler(database.url, kind=kind, size=1) as here:
            async with client(here) as one:
                await one.execute("BEGIN; CREATE TABLE half ()")
            async with client(here) as two:
                assert await two.fetchval("SELECT to_regclass('half')") is None

    async def test_a_client_that_waits_too_long_for_a_server_gets_an_error_and_is_disconnected(
        self, database: Database, kind: str
    ) -> None:
        async with (
            pooler(database.url, kind=kind, size=1, patience=2) as here,
            client(here) as one,
            client(here) as two,
        ):
            async with one.transaction():
                await one.execute("SELECT 1")
                with pytest.raises(asyncpg.PostgresError, match="query_wait_timeout"):
                    await two.execute("SELECT 1")
            assert two.is_closed()

    async def test_unsupported_startup_parameters_are_rejected(
        self, database: Database, kind: str
    ) -> None:
        async with pooler(database.url, kind=kind) as here:
            with pytest.raises(asyncpg.PostgresError, match="startup parameter: search_path"):
                async with client(here, "?search_path=elsewhere"):
                    pass


@pytest.mark.parametrize("kind", KINDS)
async def test_in_session_mode_a_client_keeps_its_server(database: Database, kind: str) -> None:
    to = pooler(database.url, mode="session", kind=kind)
    async with to as here, client(here) as one, client(here) as two:
        first, second = await server(one), await server(two)

        assert first != second
        assert await server(one) == first
