"""Caches shared by all engines and connections; they halve the CPU of a test with a database.

SQLAlchemy compiles each statement once per engine, and asyncpg looks up built-in types once per
connection. Each test has its own engine and connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from asyncpg import Connection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from reconciler.postgres.connection.dialect import PoolerSafeDialect

#: False in tests of an engine's own cache.
SHARING = True
#: Types with smaller ids are built in.
_FIRST_USER_TYPE = 16_384


def share_compiled_statements() -> None:
    """Share one cache among all engines created from now on.

    The dialect is part of the cache's key, so dialects that compile alike must be equal.
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
    """Share them among connections by Unix socket, which all go to the same server."""
    known: dict[frozenset[int], Any] = {}
    introspect = Connection._introspect_types

    async def sharing(self: Any, oids: Iterable[int], timeout: float | None) -> Any:
        wanted = frozenset(oids)
        if not isinstance(self._addr, str) or max(wanted) >= _FIRST_USER_TYPE:
            return await introspect(self, wanted, timeout)
        if wanted not in known:
            known[wanted] = await introspect(self, wanted, timeout)
        return known[wanted]

    Connection._introspect_types = sharing


def _compiles_alike(dialect: PoolerSafeDialect, other: object) -> bool:
    return isinstance(other, PoolerSafeDialect) and _traits(dialect) == _traits(other)


def _traits(dialect: PoolerSafeDialect) -> tuple[Any, ...]:
    """The attributes of a dialect that affect how it compiles statements."""
    names = ("codec", "server_version_info", "_backslash_escapes")
    return tuple(getattr(dialect, name, None) for name in names)
