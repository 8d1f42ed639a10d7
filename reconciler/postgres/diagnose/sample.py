"""Samples of running rows, to ask Temporal about: the oldest, the last, by namespace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import RunRow
from reconciler.postgres.connection.encoding import shown
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.reading import Reading, Unread
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import row_maker, select_rows
from reconciler.postgres.table.types import as_text


@dataclass(frozen=True, slots=True)
class NamespaceRows:
    """Running rows of one namespace."""

    name: str
    count: int
    oldest: datetime | None


async def rows_by_namespace(
    engine: AsyncEngine, table: MappedTable, own: str, limit: int, among: int
) -> Sequence[NamespaceRows]:
    """The `limit` namespaces with the most running rows; rows that name none count as `own`.

    Counts the `among` rows with the lowest ids. Raises `DatabaseUnusable`.
    """
    named = as_text(table.namespace).label("named")
    rows = select_rows(table).add_columns(named).where(table.is_running)
    page = rows.order_by(table.id).limit(among).subquery()
    name, count = _namespace(page.c.named, own).label("name"), sa.func.count().label("count")
    read = table.read_text(name.element)
    query = sa.select(read, count, sa.func.min(page.c.created_at)).group_by(name)
    query = query.order_by(count.desc(), name).limit(limit)
    with translated(f"read {table.full_name}", engine):
        found = await fetch(engine, query)
    return [NamespaceRows(shown(named, table.codec), *row) for named, *row in found]


async def oldest_rows(
    engine: AsyncEngine, table: MappedTable, limit: int, of: Sequence[str], own: str
) -> Sequence[RunRow]:
    """The oldest running rows of some namespaces; reads all running rows.

    `own` is the namespace of rows that name none. Raises `DatabaseUnusable`.
    """
    query = select_rows(table).where(table.is_running, table.has_workflow_id)
    names = sa.literal(list(of), postgresql.ARRAY(sa.Text))
    made, named = query.selected_columns.created_at, as_text(table.namespace)
    query = query.where(made.is_not(None), _namespace(named, own) == sa.any_(names))
    return await _read(engine, table, query.order_by(made).limit(limit))


def _namespace(column: sa.ColumnElement[Any], own: str) -> sa.ColumnElement[str]:
    """The namespace as a pass reads it."""
    return sa.func.coalesce(sa.func.nullif(column, ""), own)


async def last_rows(engine: AsyncEngine, table: MappedTable, limit: int) -> Sequence[RunRow]:
    """The running rows with a run id and the highest ids: the youngest, if ids are in order.

    Raises `DatabaseUnusable`.
    """
    query = select_rows(table).where(table.is_running, table.has_workflow_id)
    if table.run_id is not None:
        query = query.where(sa.not_(table.has_no_run_id))
    return await _read(engine, table, query.order_by(table.id.desc()).limit(limit))


async def first_rows(
    engine: AsyncEngine, table: MappedTable, limit: int, since: datetime, until: datetime
) -> Sequence[RunRow]:
    """The running rows with a run id that were created in this time and have the lowest ids.

    Raises `DatabaseUnusable`.
    """
    query = select_rows(table).where(table.is_running, table.has_workflow_id)
    query = query.where(sa.not_(table.has_no_run_id), table.created_at.between(since, until))
    return await _read(engine, table, query.order_by(table.id).limit(limit))


async def _read(engine: AsyncEngine, table: MappedTable, query: sa.Select[Any]) -> list[RunRow]:
    reading = Reading(engine, table, query)
    rows, make = reading.each(await reading.read()), row_maker(table)
    return [row.as_row() if isinstance(row, Unread) else make(*row) for row in rows]
