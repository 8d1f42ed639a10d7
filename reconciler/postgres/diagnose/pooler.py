"""Whether the connection goes through a pooler, and which: found out without leaving a trace.

Nothing is set and nothing is locked. A pooler has clients log in to itself and makes up the key
of their sessions, so that what a client was told at login is not what the server says of itself;
and in transaction mode one client's next transaction may be on the server connection that another
client, who is still there, has just used.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.postgres.connection.engine import translated

#: Seconds that a second connection may take to be of use.
PATIENCE = 5.0
# Two clients' transactions, in an order in which some pair falls on one server connection, whether
# the pooler hands out the connection that was used last or the one that has been idle longest.
_ROUNDS = 4

_SELF = sa.text("SELECT pg_backend_pid(), inet_client_port()")


class Pooling(StrEnum):
    """What a server connection is given to."""

    #: There is no pooler.
    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"
    #: A pooler, and no second connection to find out its mode by: a pool of one, or exhausted.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PoolerRoute:
    """How the database is reached."""

    pooling: Pooling
    #: Whether the server sees another port than ours: a pooler, a proxy or an address translation
    #: is in between. None where it sees none, because it is reached by a Unix socket.
    relayed: bool | None


async def find_route(engine: AsyncEngine, patience: float = PATIENCE) -> PoolerRoute:
    """Find out how an engine of ours reaches its database; takes two of its connections.

    Raises `DatabaseUnusable`, e.g. for a pooler in statement mode, which allows no transaction.
    """
    with translated("find out about a pooler", engine):
        async with engine.connect() as first:
            login, here = await _login(first)
            server, there = await _look(first)
            relayed = None if there is None else there != here
            if server == login:
                return PoolerRoute(Pooling.NONE, relayed)
            try:
                async with asyncio.timeout(patience):
                    pooling = await _mode(engine, first, server)
            except TimeoutError:
                pooling = Pooling.UNKNOWN
            return PoolerRoute(pooling, relayed)


async def _mode(engine: AsyncEngine, first: AsyncConnection, server: int) -> Pooling:
    """Whether two clients, both connected, ever share a server connection."""
    async with engine.connect() as second:
        firsts, seconds = {server}, set[int]()
        for _ in range(_ROUNDS):
            seconds.add((await _look(second))[0])
            firsts.add((await _look(first))[0])
            if firsts & seconds or len(firsts) > 1 or len(seconds) > 1:
                return Pooling.TRANSACTION
    return Pooling.SESSION


async def _look(connection: AsyncConnection) -> tuple[int, int | None]:
    """The server process of one transaction, and the port it sees its client at."""
    async with connection.begin():
        process, port = (await connection.execute(_SELF)).one()
        return process, port


async def _login(connection: AsyncConnection) -> tuple[int | None, int | None]:
    """The server process that we were told of at login, and our own port."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    # Asyncpg has no other way to the socket.
    address = driver._transport.get_extra_info("sockname")  # noqa: SLF001
    return driver.get_server_pid(), address[1] if isinstance(address, tuple) else None
