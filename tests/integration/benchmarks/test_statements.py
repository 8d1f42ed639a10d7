"""The benchmarks see every statement that the driver sends, however it is sent."""

from __future__ import annotations

import gc

import sqlalchemy as sa
from asyncpg.prepared_stmt import PreparedStatement

from benchmarks.statements import FRAME, Statement, watched
from reconciler.postgres.connection.engine import using_engine
from tests.conftest import Database


async def test_a_statement_sent_by_sqlalchemy_is_seen_once_with_its_arguments(
    database: Database,
) -> None:
    seen: list[Statement] = []
    with watched(seen.append):
        async with using_engine(database.url) as engine, engine.begin() as connection:
            seen.clear()
            await connection.execute(sa.select(sa.bindparam("given", 7) + 35))

    asked = [each for each in seen if not each.query.startswith(FRAME)]
    assert [each.arguments for each in asked] == [(7, 35)]


async def test_a_statement_sent_to_the_driver_directly_is_seen_once(database: Database) -> None:
    seen: list[Statement] = []
    with watched(seen.append):
        async with using_engine(database.url) as engine, engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            seen.clear()
            await driver.fetch("SELECT $1::int", 1)
            await (await driver.prepare("SELECT $1::int + 1")).fetch(2)

    # The driver logs the first one in a later iteration of the event loop.
    asked = sorted(
        (each.query, each.arguments) for each in seen if not each.query.startswith(FRAME)
    )
    assert asked == [("SELECT $1::int", (1,)), ("SELECT $1::int + 1", (2,))]


def test_all_hooks_are_removed_afterwards() -> None:
    before, callbacks = PreparedStatement.fetch, list(gc.callbacks)

    with watched(lambda _: None):
        assert PreparedStatement.fetch is not before

    assert PreparedStatement.fetch is before
    assert gc.callbacks == callbacks
