"""Rows by workflow id, whatever their status: what `explain` shows. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import RunRow
from reconciler.postgres.engine import translated
from reconciler.postgres.mapping import MappedTable, readable


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it stands in the table."""

    row: RunRow
    status: str
    completed_at: datetime | None
    error_message: str | None


async def find_rows(engine: AsyncEngine, table: MappedTable, workflow_id: str) -> list[StoredRow]:
    """The rows of a workflow id, oldest first. The columns written last may not exist yet."""
    columns = table.table.c
    completed_at = columns.get(table.names.completed_at)
    error_message = columns.get(table.names.error_message)
    query = (
        table.select_rows()
        .add_columns(
            sa.cast(table.status, sa.Text),
            sa.null() if completed_at is None else readable(table.as_utc(completed_at)),
            sa.null() if error_message is None else sa.cast(error_message, sa.Text),
        )
        .where(sa.cast(table.workflow_id, sa.Text) == workflow_id)
        .order_by(table.id)
    )
    with translated(f"read {table.full_name}"):
        async with engine.connect() as connection:
            await connection.execution_options(postgresql_readonly=True)
            return [
                StoredRow(RunRow(*fields), status, completed, error)
                for *fields, status, completed, error in await connection.execute(query)
            ]
