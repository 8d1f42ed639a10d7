"""Databases that are lent to one test after another, because copying the template costs CPU.

A test may do anything with its database. If only rows have changed, the database is emptied and
lent again; otherwise it is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

# The number of catalog rows written since the statistics were reset; any DDL writes some. The
# statistics are complete once no other process is connected. Shared catalogs are read directly.
_STATE = """
    SELECT sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)
        + pg_stat_get_tuples_deleted(oid)) AS catalogs,
        (SELECT sum(xmin::text::bigint) FROM pg_db_role_setting) AS settings,
        (SELECT xmin::text FROM pg_database WHERE datname = current_database()) AS rights,
        (SELECT sum(version_num::bigint) FROM reconciler.alembic_version) AS version
    FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
        AND relname NOT LIKE 'pg_statistic%'
"""
# A statement per table and sequence. TRUNCATE would take ten times as long as DELETE.
_EMPTYING = """
    SELECT string_agg(CASE relkind
        WHEN 'S' THEN format('SELECT setval(%L, 1, false)', oid::regclass)
        ELSE format('DELETE FROM %s', oid::regclass) END, '; ') AS sql,
        sum(pg_total_relation_size(oid)) AS bytes
    FROM pg_class
    WHERE relkind IN ('r', 'p', 'S') AND relname <> 'alembic_version'
        AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
#: Bytes. Deleted rows still take up space; a larger database is dropped.
_LARGEST = 2**20
# Wait at most five seconds for locks, and ignore foreign keys.
_BEFORE = "SET lock_timeout = '5s'; SET session_replication_role = replica"
# Returns when they have ended, or after five seconds.
_OTHERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass
class Lending:
    """Copies of a template database, on the server with this URL."""

    url: str
    template: str
    #: Databases to lend: the name, and the state in which it must come back.
    _free: list[tuple[str, object]] = field(default_factory=list)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[str]:
        """The URL of a database with the template's tables, all empty."""
        name, state = self._free.pop() if self._free else await self._copy()
        try:
            yield with_database(self.url, name)
        finally:
            await self._take_back(name, state)

    async def _copy(self) -> tuple[str, object]:
        name = f"test_{uuid4().hex}"
        # For such small files, this takes half the CPU of the default strategy.
        await administer(
            self.url, f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY file_copy"
        )
        async with connected(with_database(self.url, name)) as connection:
            return name, await connection.fetchrow(_STATE)

    async def _take_back(self, name: str, state: object) -> None:
        try:
            async with connected(with_database(self.url, name)) as connection:
                await connection.execute(_OTHERS)
                if await connection.fetchrow(_STATE) == state:
                    emptying = await connection.fetchrow(_EMPTYING)
                    if emptying["bytes"] < _LARGEST:
                        await connection.execute(f"{_BEFORE}; {emptying['sql']}")
                        await connection.execute("SELECT pg_stat_reset()")
                        self._free.append((name, state))
                        return
        except asyncpg.PostgresError:  # the test may have done anything
            pass
        await self._drop(name)

    async def _drop(self, name: str) -> None:
        await administer(self.url, f"DROP DATABASE {name} WITH (FORCE)")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, _state in self._free:
            await self._drop(name)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def administer(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(statement)


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
