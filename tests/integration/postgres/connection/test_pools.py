"""Pools that targets share, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import forget_connections
from reconciler.postgres.connection.pools import Pools
from tests.conftest import Database
from tests.support.polling import deadline, eventually

_OPEN = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'reconciler'
"""
_HUNG = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
_PATIENT = "SET LOCAL lock_timeout = 0", "SET LOCAL statement_timeout = 0"
#: As many statements as a target has at the same time, at most.
AT_ONCE = 4


async def run(engine: AsyncEngine, *statements: str) -> None:
    async with engine.connect() as connection:
        for each in statements:
            await connection.execute(sa.text(each))


async def counted(database: Database, query: str, count: int) -> bool:
    (row,) = await database.fetch(query)
    return row["count"] == count


async def test_targets_of_a_database_share_few_connections_which_the_last_one_closes(
    database: Database,
) -> None:
    targets = 20
    pools = Pools([database.url] * targets)
    async with AsyncExitStack() as stack:
        using = [pools.using(database.url, database.url) for _ in range(targets)]
        engines = [await stack.enter_async_context(each) for each in using]
        assert len(set(engines)) == 1
        together = asyncio.Barrier(targets)

        async def all_at_once(engine: AsyncEngine) -> None:
            async with engine.connect():
                await together.wait()

        async with deadline():
            await asyncio.gather(*(all_at_once(each) for each in engines))
        await eventually(lambda: counted(database, _OPEN, 8))
    await eventually(lambda: counted(database, _OPEN, 0))


async def test_another_database_has_another_pool_and_the_next_user_a_new_one() -> None:
    first, second = "postgresql://a/one", "postgresql://a/two"
    pools = Pools([first, second])
    async with pools.using(first, first) as one, pools.using(second, second) as two:
        assert one is not two
    async with pools.using(first, first) as again:
        assert again is not one


async def test_a_target_whose_statements_hang_does_not_keep_others_waiting(
    database: Database,
) -> None:
    """Four of five targets wait for a lock, with as many statements as they can have at once."""
    targets = 5
    pools = Pools([database.url] * targets)
    async with pools.using(database.url, database.url) as engine, database.engine.begin() as holder:
        await holder.execute(sa.text("LOCK TABLE workflow_executions"))
        slow = *_PATIENT, "SELECT FROM workflow_executions"
        stuck = [asyncio.create_task(run(engine, *slow)) for _ in range((targets - 1) * AT_ONCE)]
        await eventually(lambda: counted(database, _HUNG, len(stuck)))

        async with deadline():
            await asyncio.gather(*(run(engine, "SELECT 1") for _ in range(AT_ONCE)))

        assert not any(each.done() for each in stuck)
        await holder.rollback()
        await asyncio.gather(*stuck)


async def test_connections_that_one_target_gives_up_are_not_used_by_others(
    database: Database,
) -> None:
    pools = Pools([database.url] * 2)
    using = pools.using(database.url, database.url), pools.using(database.url, database.url)
    async with using[0] as one, using[1] as other:
        await run(one, "SELECT 1")
        (before,) = await database.fetch(_BACKENDS)
        await forget_connections(one)
        await run(other, "SELECT 1")
        (after,) = await database.fetch(_BACKENDS)
    assert before["pid"] != after["pid"]


_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'reconciler'
    ORDER BY backend_start DESC LIMIT 1
"""
