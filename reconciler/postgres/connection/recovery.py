"""Which failures another connection or another moment may cure, and how to get new connections.

For single statements that no ping precedes: a failure shows what a ping would have shown.
"""

from __future__ import annotations

from typing import Any, cast

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.engine import (
    driver_error,
    forget_connections,
    sqlstate,
)

# A row that was changed or, in READ COMMITTED, moved to another partition at the same moment; and
# a deadlock with a transaction that writes to the same rows.
_RACES = ("40001", "40P01")
# A read-only server or session; connection exceptions; shutdown, crash, not accepting connections
# yet, and two idle timeouts.
_OF_CONNECTION = ("25006", "08", "57P01", "57P02", "57P03", "57P05", "25P03")


def is_race(error: DatabaseUnusable) -> bool:
    """Whether a write failed because another one changed a row at the same moment."""
    return sqlstate(error.__cause__) in _RACES


def is_of_connection(error: DatabaseUnusable) -> bool:
    """Whether another connection may succeed.

    This one was dead, has died meanwhile, or leads to a server that no longer accepts writes: it
    was the primary before a failover.
    """
    cause = error.__cause__
    if isinstance(cause, DBAPIError) and cause.connection_invalidated:
        return True
    if cause is None or sqlstate(cause).startswith(_OF_CONNECTION):
        return cause is not None
    unsaid = (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionResetError)
    return isinstance(driver_error(cause), unsaid)


async def renew_connections(engine: AsyncEngine) -> None:
    """Use no connection again that is open now: they all lead to where a failed one led.

    Connections in use are not disturbed. Those of an application are replaced as SQLAlchemy does it
    after a lost connection: one by one, when they are next needed.
    """
    if isinstance(engine.dialect, PoolerSafeDialect):
        await forget_connections(engine)
    else:
        # There is no public way, other than to raise what SQLAlchemy takes for a lost connection.
        engine.sync_engine.pool._invalidate(cast("Any", None))  # noqa: SLF001
