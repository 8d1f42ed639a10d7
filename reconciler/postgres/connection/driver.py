"""The way past SQLAlchemy, for statements with hundreds of rows: it would cost more than it gives.

It still writes the statement, once; and keeps the connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.dialect import DRIVERS_OWN, SILENT, PoolerSafeDialect

# A plan for the arrays of this very batch takes longer to make, and to carry out, than one for any:
# it counts on hundreds of rows where each is found by its key (PostgreSQL 18: a third of a write).
_WRITING = "READ WRITE; SET LOCAL plan_cache_mode = force_generic_plan"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the driver takes it."""

    sql: str
    #: The parameters in their order, and what those are that the statement has brought along.
    names: Sequence[str]
    constants: Mapping[str, Any]

    def arguments(self, given: Mapping[str, Any]) -> Sequence[Any]:
        """What stands for $1, $2 and so on."""
        values = {**self.constants, **given}
        return [values[name] for name in self.names]


def compiled(statement: sa.Select[Any], engine: AsyncEngine) -> Statement:
    """The statement for an engine of ours.

    Its values go to asyncpg as they are: of the types that a mapped table can have, SQLAlchemy
    changes none on the way.
    """
    made = statement.compile(dialect=engine.dialect)
    return Statement(str(made), made.positiontup or (), made.params)


async def fetch(
    engine: AsyncEngine, statement: Statement, given: Mapping[str, Any]
) -> Sequence[asyncpg.Record]:
    """Read by one statement in a transaction of its own: rows as asyncpg makes them.

    The statement has no name, and is parsed anew each time: of what a batch costs that is a
    twentieth, and a named one would break behind a pooler.
    """
    async with transaction(engine, writing=False) as driver:
        return await fetch_within(driver, statement, given)


async def fetch_within(
    driver: Any, statement: Statement, given: Mapping[str, Any]
) -> Sequence[asyncpg.Record]:
    """Execute one statement in the transaction that the driver is in."""
    rows: Sequence[asyncpg.Record] = await driver.fetch(statement.sql, *statement.arguments(given))
    return rows


async def fetch_alone(
    engine: AsyncEngine, statement: Statement, given: Mapping[str, Any]
) -> Sequence[asyncpg.Record]:
    """Execute one statement that is a transaction by itself, in one round trip.

    What its parameters are, asyncpg asks once per connection, so their types must not depend on
    the table. It is sent whole each time, to be parsed under no name: nothing of it is left on the
    server, and no pooler can come between. Nor may it need types that asyncpg has to look up, such
    as arrays of anything but text: that takes statements of its own.
    """
    async with engine.connect() as connection:
        lent: Any = await connection.get_raw_connection()
        driver, known = lent.driver_connection, lent.info
        try:
            if statement.sql not in known:
                known[statement.sql] = await driver.prepare(statement.sql, name="")
            arguments = statement.arguments(given)
            rows: Sequence[asyncpg.Record] = await known[statement.sql].fetch(*arguments)
        except BaseException as error:
            if driver.is_closed() or not isinstance(error, asyncpg.PostgresError):
                await connection.invalidate()
            raise
        return rows


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, writing: bool) -> AsyncIterator[Any]:
    """The driver's connection in a transaction, begun and limited in one round trip.

    Whatever is raised in it rolls it back.
    """
    access = _WRITING if writing else "READ ONLY"
    limits = cast("PoolerSafeDialect", engine.dialect).limits
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            await driver.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED, {access}; {limits}")
            yield driver
            await driver.execute("COMMIT")
        except BaseException as error:
            # Where the server has not answered, nobody knows what has become of the connection.
            answered = isinstance(error, Exception) and not isinstance(error, SILENT)
            if not (answered and await _rolled_back(driver)):
                await connection.invalidate()
            raise


async def _rolled_back(driver: Any) -> bool:
    try:
        await driver.execute("ROLLBACK")
    except (*DRIVERS_OWN, OSError):
        return False
    except asyncio.CancelledError:
        driver.terminate()  # or it would go back to the pool with its transaction
        raise
    return True
