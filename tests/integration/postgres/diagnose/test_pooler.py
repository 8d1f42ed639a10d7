"""Finding out about a pooler; and what it says to those it does not let through, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.postgres.connection.engine import open_engine, translated
from reconciler.postgres.diagnose.pooler import PoolerRoute, Pooling, find_route
from tests.conftest import Database
from tests.support.network.proxy import proxy
from tests.support.polling import PATIENCE
from tests.support.servers.pooler import KINDS, pooler
from tests.support.servers.restartable import restartable_postgres


@asynccontextmanager
async def engine_of(url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(url)
    try:
        yield engine
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        await engine.dispose()


async def use(engine: AsyncEngine) -> None:
    with translated("read"):
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))


class TestRoute:
    async def test_by_a_unix_socket_or_whatever_way_without_a_pooler(
        self, database: Database
    ) -> None:
        assert (await find_route(database.engine, PATIENCE)).pooling is Pooling.NONE

    async def test_over_tcp_with_nobody_or_with_a_mere_proxy_in_between(self) -> None:
        async with restartable_postgres() as postgres:
            async with proxy("127.0.0.1", postgres.port) as between:
                relayed = postgres.url.replace(f":{postgres.port}/", f":{between.port}/")
                async with engine_of(postgres.url) as one, engine_of(relayed) as other:
                    assert await find_route(one, PATIENCE) == PoolerRoute(
                        Pooling.NONE, relayed=False
                    )
                    assert await find_route(other, PATIENCE) == PoolerRoute(
                        Pooling.NONE, relayed=True
                    )
            async with pooler(postgres.url) as here, engine_of(here.url) as engine:
                assert await find_route(engine, PATIENCE) == PoolerRoute(
                    Pooling.TRANSACTION, relayed=True
                )

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("mode", "size", "found"),
        [
            ("transaction", 1, Pooling.TRANSACTION),
            ("transaction", 3, Pooling.TRANSACTION),
            ("session", 3, Pooling.SESSION),
        ],
    )
    async def test_through_a_pooler(
        self, database: Database, kind: str, mode: str, size: int, found: Pooling
    ) -> None:
        to = pooler(database.url, mode=mode, size=size, kind=kind)
        async with to as here, engine_of(here.url) as engine:
            assert (await find_route(engine, PATIENCE)).pooling is found

    async def test_through_a_pooler_that_has_no_second_connection(self, database: Database) -> None:
        to = pooler(database.url, mode="session", size=1)
        async with to as here, engine_of(here.url) as engine:
            assert (await find_route(engine, patience=0.2)).pooling is Pooling.UNKNOWN

    async def test_a_pooler_whose_servers_others_use_meanwhile(self, database: Database) -> None:
        async with pooler(database.url, size=3) as here, engine_of(here.url) as engine:
            other = await asyncpg.connect(here.url, statement_cache_size=0)
            async with other.transaction():
                await other.execute("SELECT 1")
                assert (await find_route(engine, PATIENCE)).pooling is Pooling.TRANSACTION
            await other.close()

    async def test_nothing_is_left_on_the_server_connection(self, database: Database) -> None:
        async with pooler(database.url, size=1) as here:
            before = await here.traces()
            async with engine_of(here.url) as engine:
                await find_route(engine, PATIENCE)

            assert await here.traces() == before


class TestRefusals:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_parameter_that_it_does_not_pass_on(
        self, database: Database, kind: str
    ) -> None:
        to = pooler(database.url, kind=kind)
        async with to as here, engine_of(f"{here.url}?search_path=app") as engine:
            with pytest.raises(DatabaseUnfit) as refused:
                await use(engine)

        assert str(refused.value) == (
            "cannot read: unsupported startup parameter: search_path: the pooler forwards no "
            "parameters, take it out of DATABASE_URL (a schema goes into RECONCILER_TABLE)"
        )

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_pooler_that_allows_no_transaction(self, database: Database, kind: str) -> None:
        to = pooler(database.url, mode="statement", kind=kind)
        async with to as here, engine_of(here.url) as engine:
            with pytest.raises(DatabaseUnfit, match="pool_mode to transaction or session"):
                await find_route(engine, PATIENCE)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_pool_that_is_exhausted_is_worth_another_try(
        self, database: Database, kind: str
    ) -> None:
        async with pooler(database.url, size=1, patience=2, kind=kind) as here:
            other = await asyncpg.connect(here.url, statement_cache_size=0)
            async with engine_of(here.url) as engine:
                async with other.transaction():
                    await other.execute("SELECT 1")
                    with pytest.raises(DatabaseUnusable, match="default_pool_size") as refused:
                        await use(engine)
                await use(engine)
            await other.close()

        assert not isinstance(refused.value, DatabaseUnfit)
        assert "\n" not in str(refused.value)

    async def test_one_that_is_paused_is_not_waited_for_without_end(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reconciler.postgres.connection.engine.COMMAND_TIMEOUT", 2)
        async with pooler(database.url) as here, engine_of(here.url) as engine:
            await use(engine)
            here.process.pause()
            with pytest.raises(DatabaseUnusable, match="the database did not answer in time"):
                await use(engine)
            here.process.resume()
            await use(engine)

    async def test_one_that_comes_back_is_found_again(self, database: Database) -> None:
        async with pooler(database.url) as here, engine_of(here.url) as engine:
            await use(engine)
            await here.process.stop()
            with pytest.raises(DatabaseUnusable, match=r"unreachable .*: check DATABASE_URL"):
                await use(engine)
            await here.process.start()
            await use(engine)
