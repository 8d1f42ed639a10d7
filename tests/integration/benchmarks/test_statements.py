"""What the benchmarks count and compare is what the driver is asked, whichever way it goes."""

from __future__ import annotations

import gc

import sqlalchemy as sa
from asyncpg.prepared_stmt import PreparedStatement

from benchmarks.statements import FRAME, Statement, watched
from reconciler.postgres.connection.engine import using_engine
from tests.conftest import Database


async def test_a_statement_of_sqlalchemy_is_seen_once_with_its_arguments(
    database: Database,
) -> None:
    seen: list[Statement] = []
    with watched(seen.append):
        async with using_engine(database.url) as engine, engine.begin() as connection:
            seen.clear()
            await connection.execute(sa.select(sa.bindparam("given", 7) + 35))

    asked = [each for each in seen if not each.query.startswith(FRAME)]
    assert [each.arguments for each in asked] == [(7, 35)]


async def test_a_statement_past_sqlalchemy_is_seen_once_too(database: Database) -> None:
    seen: list[Statement] = []
    with watched(seen.append):
        async with using_engine(database.url) as engine, engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            seen.clear()
            await driver.fetch("SELECT $1::int", 1)
            await (await driver.prepare("SELECT $1::int + 1")).fetch(2)

    # The driver reports the first in a later turn of the loop.
    asked = sorted(
        (each.query, each.arguments) for each in seen if not each.query.startswith(FRAME)
    )
    assert asked == [("SELECT $1::int", (1,)), ("SELECT $1::int + 1", (2,))]


def test_nothing_is_watched_afterwards() -> None:
    before, callbacks = PreparedStatement.fetch, list(gc.callbacks)

    with watched(lambda _: None):
        assert PreparedStatement.fetch is not before

    assert PreparedStatement.fetch is before
    assert gc.callbacks == callbacks
