"""Rows by workflow id, for the closings feed and `explain`; by id, for a plan. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import OldValues, RowId, RunRow
from reconciler.postgres.connection.encoding import ASCII, is_storable, shown
from reconciler.postgres.connection.engine import UNTRANSLATABLE, sqlstate
from reconciler.postgres.rows.arrays import given_values
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


#: Workflow ids per statement, so that none takes long: of a template, ways to compose them.
AT_ONCE = 1_000


class RunningOf:
    """The running rows of workflow ids, each found by an index, however many rows are running.

    PostgreSQL must not choose between the ids: statistics from when no row was running, or none,
    would let it read all running rows instead. So each id is looked up by itself, in a subquery
    that it cannot dissolve, and the condition on the status is that of the index for this purpose.
    """

    def __init__(self, engine: AsyncEngine, table: MappedTable) -> None:
        self._engine, self._table, self._codec = engine, table, table.codec
        self._reading = Reading(engine, table, *_running_of(table))

    async def read(self, workflow_ids: Sequence[str]) -> list[RunRow]:
        """The rows; those that cannot be read too, without their ids. Raises `DatabaseUnusable`."""
        ways = self._table.workflow_ids.ways
        all_ways = (way for each in self._possible(workflow_ids) for way in ways(each))
        rows = list[RunRow]()
        while piece := list(islice(all_ways, AT_ONCE)):
            rows += await self._read(piece)
        return rows

    def _possible(self, workflow_ids: Sequence[str]) -> Iterator[str]:
        """The ids that a database of this encoding can have: others would fail the statement."""
        for each in dict.fromkeys(workflow_ids):
            if each and is_storable(each, self._codec):
                yield each

    async def _read(self, ways: Sequence[tuple[Any, ...]]) -> Iterable[RunRow]:
        names = self._table.workflow_ids.kinds
        given = {f"given_{n}": list(v) for n, v in zip(names, zip(*ways, strict=True), strict=True)}
        try:
            read = await self._reading.read(given)
        except DatabaseUnusable as error:
            # Python's codec has a character that the server's lacks.
            if sqlstate(error.__cause__) != UNTRANSLATABLE or self._codec == ASCII:
                raise
            self._codec = ASCII
            ways = [way for way in ways if is_storable(way[0], ASCII)]
            return await self._read(ways) if ways else ()
        wanted, make = {way[0] for way in ways}, row_maker(self._table)
        rows = (
            row.as_row() if isinstance(row, Unread) else make(*row)
            for row in self._reading.each(read)
        )
        # Rows that were read by their keys may have others' keys.
        return [row for row in rows if row.unreadable or row.workflow_id in wanted]


def _running_of(table: MappedTable) -> tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
    """The rows of given ids, their keys, and the running rows with any ids."""
    ids, names = table.workflow_ids, table.workflow_ids.kinds
    given = given_values(table, names)
    own = select_rows(table).where(table.is_looked_up, ids.is_one_of(given)).correlate(given)
    found = own.offset(sa.literal_column("0")).lateral(table.beside("found"))
    rows = sa.select(*found.c).select_from(sa.join(given, found, sa.true()))
    return rows, rows.with_only_columns(found.c.id), select_rows(table).where(table.is_running)


async def find_rows(engine: AsyncEngine, table: MappedTable, workflow_id: str) -> list[StoredRow]:
    """The rows of a workflow id, by key. Columns that a pass writes may not exist yet."""
    query = (
        select_rows(table)
        .add_columns(table.is_running, table.is_included, *_written(table))
        .where(table.workflow_ids.equal(sa.literal(workflow_id, sa.Text)))
        .order_by(table.id)
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
    return found


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
