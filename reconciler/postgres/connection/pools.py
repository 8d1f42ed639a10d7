"""Connection pools that targets share: one per database."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import Dsn, close, open_engine


class Pools:
    """The engines of all targets of a process.

    Targets that are given the same database share one, with room for all of them.
    """

    def __init__(self, databases: Iterable[str]) -> None:
        """`databases`: for each target its URL, or the file that holds it."""
        self._targets = Counter(databases)
        self._engines: dict[str, AsyncEngine] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def using(self, database: str, dsn: Dsn) -> AsyncIterator[AsyncEngine]:
        """The engine of this database. Its last user's end closes its connections."""
        if database not in self._engines:
            self._engines[database] = open_engine(dsn, targets=self._targets[database])
        engine = self._engines[database]
        self._users[database] += 1
        try:
            yield engine
        finally:
            self._users[database] -= 1
            if not self._users[database]:
                del self._engines[database]  # first: the next user needs another one
                await close(engine)
