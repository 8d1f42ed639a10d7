"""Caches that engines and connections share, which saves half the CPU of a test with a database.

SQLAlchemy compiles each statement once per engine, and asyncpg looks up the types that PostgreSQL
has of its own once per connection. A test has an engine and connections of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from asyncpg import Connection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from reconciler.postgres.connection.dialect import PoolerSafeDialect

#: Set to False by a test of the cache that an engine has otherwise.
SHARING = True
#: Types with smaller ids are PostgreSQL's own.
_FIRST_OF_USERS = 16_384


def share_compiled_statements() -> None:
    """For all engines that are made from now on.

    SQLAlchemy finds a statement by its dialect, among other things: dialects that compile alike
    have to be equal.
    """
    cache: LRUCache[Any, Any] = LRUCache(2000)
    init = AsyncEngine.__init__

    def sharing(self: AsyncEngine, engine: sa.Engine) -> None:
        init(self, engine)
        if SHARING and isinstance(engine.dialect, PoolerSafeDialect):
            engine._compiled_cache = cache

    AsyncEngine.__init__ = sharing  # type: ignore[assignment,method-assign]
    PoolerSafeDialect.__eq__ = _compiles_alike  # type: ignore[assignment,method-assign]
    PoolerSafeDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]


def share_builtin_types() -> None:
    """For all connections by a Unix socket, which are those to the server that tests share."""
    known: dict[frozenset[int], Any] = {}
    introspect = Connection._introspect_types

    async def sharing(self: Any, oids: Iterable[int], timeout: float | None) -> Any:
        wanted = frozenset(oids)
        if not isinstance(self._addr, str) or max(wanted) >= _FIRST_OF_USERS:
            return await introspect(self, wanted, timeout)
        if wanted not in known:
            known[wanted] = await introspect(self, wanted, timeout)
        return known[wanted]

    Connection._introspect_types = sharing


def _compiles_alike(dialect: PoolerSafeDialect, other: object) -> bool:
    return isinstance(other, PoolerSafeDialect) and _traits(dialect) == _traits(other)


def _traits(dialect: PoolerSafeDialect) -> tuple[Any, ...]:
    """What is read from the server, or given, and goes into a statement."""
    names = ("codec", "server_version_info", "_backslash_escapes")
    return tuple(getattr(dialect, name, None) for name in names)
