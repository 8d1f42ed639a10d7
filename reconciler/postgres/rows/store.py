"""The application's table as a pass needs it: read a page, finish rows if still running.

Each is a short transaction of its own; none is open while Temporal is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable, Unusable
from reconciler.core.model import Outcome, Rival, RowId, RunRow, Unknown
from reconciler.core.ports import Ending, Reach, Written
from reconciler.core.report.progress import Span
from reconciler.core.report.sweep import Rest
from reconciler.core.window import EVERY, AgeSpread, Window
from reconciler.postgres.connection.encoding import ASCII
from reconciler.postgres.connection.engine import (
    STATEMENT_TIMEDOUT,
    UNTRANSLATABLE,
    sqlstate,
    translated,
)
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.arrays import as_arrays
from reconciler.postgres.rows.guarded import Attempt, GuardedWrite
from reconciler.postgres.rows.halving import Halving
from reconciler.postgres.rows.key_order import KeyOrder
from reconciler.postgres.rows.reading import Read, Reading, Unread
from reconciler.postgres.rows.rejection import may_concern_rows
from reconciler.postgres.rows.rivals import TOO_SLOW, find_rivals, select_rivals
from reconciler.postgres.rows.ruled_out import RuledOut
from reconciler.postgres.rows.write import guarded_write
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import count_page, in_window, row_maker, select_rows

#: Rows counted by one statement.
COUNTED_AT_ONCE = 20_000
#: The same, if one of them cannot be read.
COUNTED_APART = 500


class PostgresStore:
    """Implements `Store` over one mapped table, or over a window of its rows."""

    def __init__(
        self,
        engine: AsyncEngine,
        table: MappedTable,
        window: Window = EVERY,
        *,
        journalled: bool = True,
        found_by: str | None = None,
        ruled_out: RuledOut | None = None,
    ) -> None:
        """For one pass.

        `journalled`: whether writes are recorded in reconciler's schema, as rows that were found
        by `found_by`. `ruled_out` is kept from pass to pass.
        """
        self._engine, self._table, self._journalled = engine, table, journalled
        self._found_by = found_by
        self._in_window = in_window(table, window)
        self._order = KeyOrder(engine, table, self._in_window)
        self._ruled_out = ruled_out or RuledOut()
        self._halving = Halving(f"write {table.full_name}", self._ruled_out.words)
        self._codec = table.codec
        #: Why rivals are no longer looked for; None while they are.
        self._no_rivals: Unknown | None = None

    @cached_property
    def _write(self) -> GuardedWrite:
        # Built when first needed: a dry run works on a table that lacks columns to write.
        write = guarded_write(self._table, journalled=self._journalled, found_by=self._found_by)
        return GuardedWrite(self._engine, self._table, write, journalled=self._journalled)

    @cached_property
    def _rivals(self) -> sa.Select[Any]:
        return select_rivals(self._table)

    @cached_property
    def _first_page(self) -> Reading:
        return Reading(self._engine, self._table, self._page(first=True))

    @cached_property
    def _next_page(self) -> Reading:
        return Reading(self._engine, self._table, self._page(first=False))

    async def last_running(self) -> RowId | None:
        """The highest id among the running rows; None if there are none."""
        with translated(f"read {self._table.full_name}"):
            last = await fetch(self._engine, self.last())
        return self._table.key.decode(last[0][0]) if last else None

    def last(self) -> sa.Select[Any]:
        """The statement that finds the highest id."""
        table = self._table
        return sa.select(table.key.read).where(table.is_running).order_by(table.id.desc()).limit(1)

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """The next page of running rows in the order of their ids.

        One statement reads at most `limit` rows, however few of them are in the window: a long
        statement would harm production as much as a long transaction.
        """
        rows = list[RunRow]()
        while len(rows) < limit:
            reading = self._first_page if after is None else self._next_page
            read = await self._read_page(reading, self._given(after, until, limit))
            rows += self._in(reading, read)
            if len(read) < limit:
                break
            after = self._table.key.decode(read.last)
        return rows[:limit]

    async def _read_page(self, page: Reading, given: Mapping[str, Any]) -> Read:
        return await page.read(given)

    def _in(self, reading: Reading, read: Read) -> list[RunRow]:
        """The rows in the window, and rows that cannot be read, which may be in it."""
        make = row_maker(self._table)
        if read.keys is None:
            return [make(*values) for *values, in_window in read.rows if in_window]
        return [
            row.as_row() if isinstance(row, Unread) else make(*row[:-1])
            for row in reading.each(read)
            if isinstance(row, Unread) or row[-1]
        ]

    async def count_running(self, span: Span) -> AgeSpread:
        """How many rows a scan of the span would find; counted in pieces, as it is read."""
        counted, after = AgeSpread(), span.after
        while True:
            try:
                read, *found, last = await self._counted(after, span.until)
            except DatabaseUnusable as error:
                if not may_concern_rows(error.__cause__):
                    raise
                return counted.plus(await self._counted_apart(after, span.until))
            counted = counted.plus(AgeSpread(*found))
            if read < COUNTED_AT_ONCE:
                return counted
            after = self._table.key.decode(last)

    async def _counted(self, after: RowId | None, until: RowId) -> list[Any]:
        count = count_page(self._page(first=after is None), self._table)
        given = self._given(after, until, COUNTED_AT_ONCE)
        with translated(f"read {self._table.full_name}"):
            (counted,) = await fetch(self._engine, count, given)
        return list(counted)

    async def _counted_apart(self, after: RowId | None, until: RowId) -> AgeSpread:
        """The same, row by row, if a value cannot be read that decides about the window."""
        counted = AgeSpread()
        while after != until and (rows := await self.scan_running(after, until, COUNTED_APART)):
            made = [row.created_at for row in rows if row.created_at is not None]
            oldest, newest = min(made, default=None), max(made, default=None)
            counted = counted.plus(AgeSpread(len(rows), oldest, newest))
            after = rows[-1].id
        return counted

    def page(self, after: RowId | None, until: RowId, limit: int) -> sa.Select[Any]:
        """The statement that reads a page of running rows, in the window or not."""
        page, given = self._page(first=after is None), self._given(after, until, limit)
        return page.params({name: value for name, value in given.items() if value is not None})

    def _page(self, *, first: bool) -> sa.Select[Any]:
        table = self._table
        query = select_rows(table).add_columns(self._in_window.label("in_window"))
        query = query.where(table.is_running, table.id <= table.key.given("until"))
        if not first:
            query = query.where(table.id > table.key.given("after"))
        return query.order_by(table.id).limit(sa.bindparam("rows", type_=sa.Integer))

    def _given(self, after: RowId | None, until: RowId, limit: int) -> Mapping[str, Any]:
        encode = self._table.key.encode
        return {"after": encode(after), "until": encode(until), "rows": limit}

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        """How far the first of the running rows reach, without reading them."""
        return await self._order.reach(after, until, rows)

    async def read_rest(self, recorded: Rest) -> Rest | None:
        """The keys that were recorded."""
        return await self._order.read_rest(recorded)

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        """The rivals of rows without a run id. Not looked for again after a timeout."""
        if self._no_rivals is None:
            try:
                return await find_rivals(self._engine, self._table, self._rivals, endings)
            except DatabaseUnusable as error:
                if sqlstate(error.__cause__) != STATEMENT_TIMEDOUT:
                    raise
                self._no_rivals = Unknown(TOO_SLOW)
        return self._no_rivals

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """Finish and journal the rows that are still running with the run id that was read.

        Skips a row that another transaction has locked: that transaction is probably writing it,
        and if not, the next pass will. Rows that the database refused before are tried after the
        others, and apart from them. Raises `DatabaseUnusable` if nothing was committed; otherwise
        the failure is in the result.
        """
        attempt = partial(self._attempt, pass_id)
        written, refused, untried = set[RowId](), dict[RowId, str](), set[RowId]()
        failure: Unusable | None = None
        for batch, hopeful in self._ruled_out.apart(outcomes):
            if failure is not None:
                untried.update(outcome.row.id for outcome in batch)
                continue
            done = await self._halving.write(attempt, batch, hopeful=hopeful)
            ids = [outcome.row.id for outcome in batch]
            written.update(ids[place] for place in done.written)
            refused |= {ids[place]: why for place, why in done.refused.items()}
            untried.update(ids[place] for place in done.untried)
            self._ruled_out.note(ids, done)
            failure = done.failure
        if failure is not None and not written and not refused:
            raise failure
        return Written(frozenset(written), refused, frozenset(untried), failure)

    async def _attempt(self, pass_id: str, outcomes: Sequence[Outcome]) -> Attempt:
        try:
            return await self._write.run(as_arrays(pass_id, outcomes, self._table, self._codec))
        except DBAPIError as error:
            # Python's codec has a character that the server's lacks.
            if sqlstate(error) != UNTRANSLATABLE or self._codec == ASCII:
                raise
            self._codec = ASCII
            return await self._attempt(pass_id, outcomes)
