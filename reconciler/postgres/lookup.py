"""Rows whatever their status: by workflow id for `explain`, by id for a plan. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import OldValues, RowId, RunRow
from reconciler.postgres.encoding import shown
from reconciler.postgres.engine import translated
from reconciler.postgres.mapping import MappedTable
from reconciler.postgres.types import readable


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it stands in the table."""

    row: RunRow
    #: Whether a pass looks at it.
    running: bool
    status: str
    completed_at: datetime | None
    error_message: str | None


async def find_rows(engine: AsyncEngine, table: MappedTable, workflow_id: str) -> list[StoredRow]:
    """The rows of a workflow id, oldest first. The columns written last may not exist yet."""
    query = (
        table.select_rows()
        .add_columns(table.is_running, *_written(table))
        .where(sa.cast(table.workflow_id, sa.Text) == workflow_id)
        .order_by(table.id)
    )
    rows, text = await _read(engine, table, query), partial(shown, codec=table.codec)
    return [
        StoredRow(table.make_row(*fields), running, text(status), completed, error and text(error))
        for *fields, running, status, completed, error in rows
    ]


async def old_values(
    engine: AsyncEngine, table: MappedTable, ids: Sequence[RowId]
) -> Mapping[RowId, OldValues]:
    """What the rows with these ids say by now; those that are gone are not in it.

    One short read. Raises `DatabaseUnusable`.
    """
    # An array, and not a list of parameters: of these there may be no more than 32,767.
    given = sa.bindparam("ids", list(ids), type_=postgresql.ARRAY(table.id.type))
    query = sa.select(table.id, *_written(table)).where(table.id == sa.any_(given))
    rows = await _read(engine, table, query)
    text = partial(shown, codec=table.codec)
    return {
        row_id: OldValues(status and text(status), ended, error and text(error))
        for row_id, status, ended, error in rows
    }


def _written(table: MappedTable) -> list[sa.ColumnElement[Any]]:
    """What a pass writes, as it is; null where `reconciler migrate` has yet to add the column."""
    written = table.written()
    status, error = table.read_text(written["status"]), table.read_text(written["error_message"])
    return [status, readable(written["completed_at"]), error]


async def _read(engine: AsyncEngine, table: MappedTable, query: sa.Select[Any]) -> Sequence[Any]:
    with translated(f"read {table.full_name}"):
        async with engine.connect() as connection:
            await connection.execution_options(postgresql_readonly=True)
            rows: Sequence[Any] = (await connection.execute(query)).all()
            return rows
