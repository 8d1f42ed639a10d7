"""Rows of any status: by workflow id for `explain`, by id for a plan. Reads only."""

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
from reconciler.postgres.table.run_row import row_maker, select_rows
from reconciler.postgres.table.types import readable


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row with the values that a pass writes."""

    row: RunRow
    #: Whether passes read it.
    running: bool
    #: None: null.
    status: str | None
    completed_at: datetime | None
    error_message: str | None
    #: Whether passes would read it if it were marked as running.
    included: bool = True


async def find_rows(
    engine: AsyncEngine, table: MappedTable, workflow_id: str, newest: int | None = None
) -> list[StoredRow]:
    """The rows of a workflow id, by key; `newest`: the most rows, those with the largest keys.

    Columns that a pass writes may not exist yet.
    """
    query = (
        select_rows(table)
        .add_columns(table.is_running, table.is_included, *_written(table))
        .where(table.workflow_ids.equal(sa.literal(workflow_id, sa.Text)))
        .order_by(table.id if newest is None else table.id.desc())
        .limit(newest)
    )
    reading, text = Reading(engine, table, query), partial(shown, codec=table.codec)
    found, make = [], row_maker(table)
    given = table.workflow_ids.parameters([workflow_id])
    for row in reading.each(await reading.read(given)):
        if isinstance(row, Unread):
            # A pass reads it as unreadable, if it is running.
            found.append(StoredRow(row.as_row(workflow_id), True, "?", None, None))  # noqa: FBT003
            continue
        *fields, running, included, status, ended, error = row
        values = status and text(status), ended, error and text(error), bool(included)
        found.append(StoredRow(make(*fields), running, *values))
    return found if newest is None else found[::-1]


async def old_values(
    engine: AsyncEngine, table: MappedTable, ids: Sequence[RowId]
) -> Mapping[RowId, OldValues]:
    """The current values of the rows with these ids, except rows that no longer exist.

    All values of an unreadable row are None. Raises `DatabaseUnusable`.
    """
    key, text = table.key, partial(shown, codec=table.codec)
    # An array, because a statement has at most 32,767 parameters.
    query = sa.select(key.read, *_written(table)).where(key.is_among("ids"))
    reading = Reading(engine, table, query)
    found = {}
    for row in reading.each(await reading.read({"ids": [key.encode(row_id) for row_id in ids]})):
        if isinstance(row, Unread):
            found[row.key] = OldValues(None, None, None)
            continue
        read, status, ended, error = row
        found[key.decode(read)] = OldValues(status and text(status), ended, error and text(error))
    return found


def _written(table: MappedTable) -> list[sa.ColumnElement[Any]]:
    """The columns that a pass writes; null until `reconciler migrate` adds them."""
    written = table.written()
    status, error = table.read_text(written["status"]), table.read_text(written["error_message"])
    return [status, readable(written["completed_at"]), error]
