"""Finds out whether connections go through a pooler, and in which mode. Sets and locks nothing.

Clients log in to the pooler, which invents the process id that they get: it differs from the one
that the server reports. In transaction mode, one client's transaction may be on the server
connection that another connected client has just used.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.postgres.connection.engine import translated

#: Seconds to wait for a second connection.
PATIENCE = 5.0
# Transactions of two clients: in this many, some pair shares a server connection, whether a pooler
# picks the connection that was used last or the one that has been idle longest.
_ROUNDS = 4

_SELF = sa.text("SELECT pg_backend_pid(), inet_client_port()")


class Pooling(StrEnum):
    """What a pooler assigns a server connection to."""

    #: There is no pooler.
    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"
    #: A pooler, but no second connection to find out its mode: a pool of one, or an exhausted one.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PoolerRoute:
    """How the database is reached."""

    pooling: Pooling
    #: Whether the server sees another port than the client's: a pooler, a proxy or address
    #: translation is in between. None for a Unix socket, which has no port.
    relayed: bool | None


async def find_route(engine: AsyncEngine, patience: float = PATIENCE) -> PoolerRoute:
    """Find out how the engine reaches its database; takes two of its connections.

    Raises `DatabaseUnusable`, also for a pooler in statement mode, which allows no transaction.
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
    """The server's process id as of the login, and the client's port."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    # asyncpg has no public access to the socket.
    address = driver._transport.get_extra_info("sockname")  # noqa: SLF001
    return driver.get_server_pid(), address[1] if isinstance(address, tuple) else None
