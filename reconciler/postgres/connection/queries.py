"""Queries, each in a short read-only transaction of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


@asynccontextmanager
async def read_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A read-only transaction, begun and limited before its first statement."""
    async with engine.connect() as connection:
        await connection.execution_options(postgresql_readonly=True)
        async with connection.begin():
            yield connection


async def fetch(
    engine: AsyncEngine, query: sa.Executable, given: Mapping[str, Any] | None = None
) -> Sequence[Any]:
    """The rows of one query."""
    async with read_transaction(engine) as connection:
        return (await connection.execute(query, given or {})).all()
