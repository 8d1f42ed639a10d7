"""Rows whatever their status: by workflow id for `explain`, by id for a plan. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import OldValues, RowId, RunRow
from reconciler.postgres.connection.encoding import shown
from reconciler.postgres.rows.reading import Reading, Unread
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.types import readable


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it stands in the table."""

    row: RunRow
    #: Whether a pass looks at it.
    running: bool
    status: str
    completed_at: datetime | None
    error_message: str | None
    #: Whether a pass would look at it if it were marked as running.
    ours: bool = True


async def find_rows(engine: AsyncEngine, table: MappedTable, workflow_id: str) -> list[StoredRow]:
    """The rows of a workflow id, oldest first. The columns written last may not exist yet."""
    query = (
        table.select_rows()
        .add_columns(table.is_running, table.is_ours, *_written(table))
        .where(sa.cast(table.workflow_id, sa.Text) == workflow_id)
        .order_by(table.id)
    )
    reading, text = Reading(engine, table, query), partial(shown, codec=table.codec)
    found = []
    for row in reading.each(await reading.read()):
        if isinstance(row, Unread):
            # What a pass would make of it if it is running.
            found.append(StoredRow(row.as_row(workflow_id), True, "?", None, None))  # noqa: FBT003
            continue
        *fields, running, ours, status, ended, error = row
        values = text(status), ended, error and text(error), bool(ours)
        found.append(StoredRow(table.make_row(*fields), running, *values))
    return found


async def old_values(
    engine: AsyncEngine, table: MappedTable, ids: Sequence[RowId]
) -> Mapping[RowId, OldValues]:
    """What the rows with these ids say by now; those that are gone are not in it.

    Of a row that cannot be read nobody knows. One short read. Raises `DatabaseUnusable`.
    """
    key, text = table.key, partial(shown, codec=table.codec)
    # An array, and not a list of parameters: of these there may be no more than 32,767.
    query = sa.select(key.read, *_written(table)).where(key.is_among("ids"))
    reading = Reading(engine, table, query)
    found = {}
    for row in reading.each(await reading.read({"ids": [key.told(row_id) for row_id in ids]})):
        if isinstance(row, Unread):
            found[row.key] = OldValues(None, None, None)
            continue
        read, status, ended, error = row
        found[key.known(read)] = OldValues(status and text(status), ended, error and text(error))
    return found


def _written(table: MappedTable) -> list[sa.ColumnElement[Any]]:
    """What a pass writes, as it is; null where `reconciler migrate` has yet to add the column."""
    written = table.written()
    status, error = table.read_text(written["status"]), table.read_text(written["error_message"])
    return [status, readable(written["completed_at"]), error]
