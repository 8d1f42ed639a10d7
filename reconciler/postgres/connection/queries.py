"""Queries in a short read-only transaction, and single statements in one round trip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


@asynccontextmanager
async def read_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A read-only transaction, begun and limited before its first statement."""
    async with engine.connect() as connection:
        await connection.execution_options(postgresql_readonly=True)
        async with connection.begin():
            yield connection


@asynccontextmanager
async def transacting(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection with transactions, which savepoints need, even if the engine commits by itself.

    An application's engine may: `isolation_level="AUTOCOMMIT"`.
    """
    async with engine.connect() as connection:
        lent = await connection.get_raw_connection()
        if getattr(lent.dbapi_connection, "autocommit", False):
            await connection.rollback()  # a listener may have begun what is no transaction
            await connection.execution_options(isolation_level="READ COMMITTED")
        yield connection


#: For statements that somebody waits for, in milliseconds.
QUICK = 2_000


async def fetch(
    engine: AsyncEngine,
    query: sa.Executable,
    given: Mapping[str, Any] | None = None,
    *,
    milliseconds: int | None = None,
) -> Sequence[Any]:
    """The rows of one query; `milliseconds`: a limit of its own."""
    async with read_transaction(engine) as connection:
        if milliseconds is not None:
            limit = sa.func.set_config("statement_timeout", str(milliseconds), True)  # noqa: FBT003
            await connection.execute(sa.select(limit))
        return (await connection.execute(query, given or {})).all()


def sets_up_transactions(engine: AsyncEngine) -> bool:
    """Whether an application has listeners that may set a tenant or a search_path.

    `SET LOCAL` needs a transaction. Without one, a statement takes a single round trip.
    """
    ours, pool = engine.sync_engine.dispatch, engine.sync_engine.pool.dispatch
    events = ours.begin, ours.engine_connect, ours.before_execute, ours.before_cursor_execute
    return any(map(bool, (*events, pool.checkout)))


class OneRoundTrip:
    """A statement that is a transaction by itself, executed in one round trip.

    For an engine of `open_engine`. Bypasses SQLAlchemy, whose share of the main path's write would
    be a fifth. asyncpg describes the statement once per connection, so the types of its parameters
    and columns must not depend on the table, nor be types that asyncpg has to look up. It sends
    the statement whole each time, without a name: nothing of it stays on the server.
    """

    def __init__(self, engine: AsyncEngine, statement: sa.Select[Any]) -> None:
        compiled = statement.compile(dialect=engine.dialect)
        self._engine = engine
        self._sql = str(compiled)
        self._names = compiled.positiontup or ()
        self._constants = compiled.params

    async def fetch_one(self, given: Mapping[str, Any]) -> Sequence[Any]:
        """The statement's one row. Raises what the driver does."""
        values = {**self._constants, **given}
        async with self._engine.connect() as connection:
            lent: Any = await connection.get_raw_connection()
            driver, described = lent.driver_connection, lent.info
            try:
                if self._sql not in described:
                    described[self._sql] = await driver.prepare(self._sql, name="")
                arguments = (values[name] for name in self._names)
                rows: Sequence[Sequence[Any]] = await described[self._sql].fetch(*arguments)
            except BaseException as error:
                # Unless the server has answered, the statement may still be running.
                if driver.is_closed() or not isinstance(error, asyncpg.PostgresError):
                    await connection.invalidate()
                raise
            return rows[0]
