"""A few running rows, to ask Temporal about: the oldest, or the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import RunRow
from reconciler.postgres.engine import translated
from reconciler.postgres.mapping import MappedTable


async def oldest_rows(engine: AsyncEngine, table: MappedTable, limit: int) -> Sequence[RunRow]:
    """The running rows that were created first; reads all of them. Raises `DatabaseUnusable`."""
    query = table.select_rows().where(table.is_running)
    made = query.selected_columns.created_at
    return await _read(engine, table, query.where(made.is_not(None)).order_by(made).limit(limit))


async def last_rows(engine: AsyncEngine, table: MappedTable, limit: int) -> Sequence[RunRow]:
    """The running rows with the highest ids: the youngest, if ids are numbers or in order.

    Raises `DatabaseUnusable`.
    """
    query = table.select_rows().where(table.is_running).order_by(table.id.desc()).limit(limit)
    return await _read(engine, table, query)


async def _read(engine: AsyncEngine, table: MappedTable, query: sa.Select[Any]) -> list[RunRow]:
    with translated(f"read {table.full_name}", engine):
        async with engine.connect() as connection:
            return [RunRow(*row) for row in (await connection.execute(query)).all()]
