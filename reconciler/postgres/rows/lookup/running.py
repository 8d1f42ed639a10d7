"""The running rows of workflow ids, for the closings feed. Reads only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import RunRow
from reconciler.postgres.connection.encoding import ASCII, is_storable
from reconciler.postgres.connection.engine import UNTRANSLATABLE, sqlstate, translated
from reconciler.postgres.connection.explain import Explain, scans_of
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.arrays import given_values
from reconciler.postgres.rows.reading import Reading, Unread
from reconciler.postgres.rows.rejection import may_concern_rows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import row_maker, select_rows

#: Workflow ids per statement, so that none takes long: of a template, ways to compose them.
AT_ONCE = 1_000
#: A workflow id, with the values of its columns.
_Way: TypeAlias = tuple[Any, ...]


class RunningOf:
    """The running rows of workflow ids.

    An index finds each, however many rows are running: each id is looked up by itself, in a
    subquery that PostgreSQL does not dissolve. Otherwise statistics, such as those from when no row
    was running, could make it read all rows. Without an index it reads all running rows, once per
    statement.
    """

    def __init__(self, engine: AsyncEngine, table: MappedTable) -> None:
        self._engine, self._table = engine, table
        self._codec = table.codec
        self._chosen: Reading | None = None

    async def read(self, workflow_ids: Sequence[str]) -> list[RunRow]:
        """The rows; of those that cannot be read, only the keys. Raises `DatabaseUnusable`."""
        possible = dict.fromkeys(each for each in workflow_ids if self._is_possible(each))
        ways = chain.from_iterable(map(self._table.workflow_ids.ways, possible))
        rows = list[RunRow]()
        while piece := list(islice(ways, AT_ONCE)):
            try:
                rows += await self._read(piece)
            except DatabaseUnusable as error:
                if not may_concern_rows(error.__cause__):
                    raise
                # Such as a workflow id that cannot be read, and so not compared.
                return [row async for row in self._every_row() if row.workflow_id in possible]
        return rows

    def _is_possible(self, workflow_id: str) -> bool:
        """Whether a database of this encoding can have the id: any other would be an error."""
        return bool(workflow_id) and is_storable(workflow_id, self._codec)

    async def _read(self, ways: Sequence[_Way]) -> Sequence[RunRow]:
        given = _given(self._table, ways)
        try:
            self._chosen = reading = self._chosen or await self._choose(given)
            read = await reading.read(given)
        except DatabaseUnusable as error:
            # Python's codec has a character that the server's lacks.
            if sqlstate(error.__cause__) != UNTRANSLATABLE or self._codec == ASCII:
                raise
            self._codec = ASCII
            ways = [way for way in ways if self._is_possible(way[0])]
            return await self._read(ways) if ways else ()
        wanted, make = {way[0] for way in ways}, row_maker(self._table)
        rows = (
            row.as_row() if isinstance(row, Unread) else make(*row) for row in reading.each(read)
        )
        # Rows that were read by their keys may have others' keys.
        return [row for row in rows if row.unreadable or row.workflow_id in wanted]

    async def _choose(self, given: Mapping[str, Any]) -> Reading:
        """By index or not, as PostgreSQL plans it."""
        by_index = select_running_of(self._table)
        with translated(f"explain how {self._table.full_name} is read"):
            ((plan,),) = await fetch(self._engine, Explain(by_index.params(given)))
        is_indexed = all(index is not None for _, index in scans_of(plan))
        query = by_index if is_indexed else select_running_of(self._table, by_index=False)
        keys = query.with_only_columns(query.selected_columns.id, maintain_column_froms=True)
        every = select_rows(self._table).where(self._table.is_running)
        return Reading(self._engine, self._table, query, keys, every)

    async def _every_row(self) -> AsyncIterator[RunRow]:
        store = PostgresStore(self._engine, self._table)
        after, until = None, await store.last_running()
        while until is not None and after != until:
            page = await store.scan_running(after, until, AT_ONCE)
            for row in page:
                yield row
            after = page[-1].id if page else until


def select_running_of(table: MappedTable, *, by_index: bool = True) -> sa.Select[Any]:
    """The columns of `select_rows` of running rows of given ids: with their values, arrays."""
    ids = table.workflow_ids
    given = given_values(table, ids.kinds)
    if not by_index:
        join = sa.join(table.table, given, ids.is_one_of(given))
        return select_rows(table).select_from(join).where(table.is_running)
    own = select_rows(table).where(table.is_looked_up, ids.is_one_of(given)).correlate(given)
    found = own.offset(sa.literal_column("0")).lateral(table.beside("found"))
    return sa.select(*found.c).select_from(sa.join(given, found, sa.true()))


def explain_running_of(table: MappedTable) -> sa.Select[Any]:
    """The statement that looks rows up by index, with no ids given: to explain it."""
    return select_running_of(table).params(_given(table, []))


def _given(table: MappedTable, ways: Sequence[_Way]) -> Mapping[str, Any]:
    names = table.workflow_ids.kinds
    values = list(zip(*ways, strict=True)) if ways else [()] * len(names)
    return {f"given_{name}": list(each) for name, each in zip(names, values, strict=True)}
