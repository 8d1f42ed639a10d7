"""One cache of compiled statements for all engines of a test process.

SQLAlchemy compiles each statement once per engine. Each test has an engine of its own, and spends
half of its CPU on that.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

from reconciler.postgres.connection.dialect import PoolerSafeDialect


def share_compiled_statements() -> None:
    """For all engines that are made from now on.

    SQLAlchemy finds a statement by its dialect, among other things: dialects that compile alike
    have to be equal.
    """
    cache: LRUCache[Any, Any] = LRUCache(2000)
    init = sa.Engine.__init__

    def sharing(self: sa.Engine, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        if isinstance(self.dialect, PoolerSafeDialect):
            self._compiled_cache = cache

    sa.Engine.__init__ = sharing  # type: ignore[method-assign]
    PoolerSafeDialect.__eq__ = _compiles_alike  # type: ignore[assignment,method-assign]
    PoolerSafeDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]


def _compiles_alike(dialect: PoolerSafeDialect, other: object) -> bool:
    return isinstance(other, PoolerSafeDialect) and _traits(dialect) == _traits(other)


def _traits(dialect: PoolerSafeDialect) -> tuple[Any, ...]:
    """What is read from the server, or given, and goes into a statement."""
    names = ("codec", "server_version_info", "_backslash_escapes")
    return tuple(getattr(dialect, name, None) for name in names)
