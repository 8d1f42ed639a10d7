"""The application's table as the pass needs it: read a page, finish rows if still running.

Two statements, each in a short transaction of its own; nothing is open while Temporal is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Outcome, RowId, RunRow
from reconciler.core.progress import Span
from reconciler.core.window import EVERY, Window, WindowCount
from reconciler.ports import Written
from reconciler.postgres.driver import Statement, compiled, fetch
from reconciler.postgres.engine import is_race, refusal_of_a_row, translated
from reconciler.postgres.mapping import MappedTable
from reconciler.postgres.write import guarded_write, unjournalled_write

#: Rows counted by one statement.
COUNTED_AT_ONCE = 20_000


class PostgresStore:
    """Implements `Store` over one mapped table, or over a window of its rows."""

    def __init__(
        self,
        engine: AsyncEngine,
        table: MappedTable,
        window: Window = EVERY,
        *,
        journalled: bool = True,
    ) -> None:
        """`journalled`: whether what is written is noted down, in our schema."""
        self._engine, self._table, self._journalled = engine, table, journalled
        self._in_window = _in_window(table, window)

    @cached_property
    def _write(self) -> Statement:
        # Made when it is first needed: a dry run works on a table that lacks what it writes.
        write = guarded_write if self._journalled else unjournalled_write
        return compiled(write(self._table), self._engine)

    @cached_property
    def _first_page(self) -> Statement:
        return compiled(self._page(first=True), self._engine)

    @cached_property
    def _next_page(self) -> Statement:
        return compiled(self._page(first=False), self._engine)

    async def last_running(self) -> RowId | None:
        """The highest id among the running rows; None if there are none."""
        last = await self._read(self.last())
        return last[0][0] if last else None

    def last(self) -> sa.Select[Any]:
        """The statement that finds the highest id."""
        table = self._table
        return sa.select(table.id).where(table.is_running).order_by(table.id.desc()).limit(1)

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """The next page of running rows in the order of their ids.

        Reads no more than `limit` rows in one statement, however few of them are in the window:
        a long statement would be as bad for production as a long transaction.
        """
        rows: list[RunRow] = []
        while len(rows) < limit:
            read = await self._read_page(after, until, limit)
            rows += [RunRow(a, b, c, d, e) for a, b, c, d, e, in_window in read if in_window]
            if len(read) < limit:
                break
            after = read[-1][0]
        return rows[:limit]

    async def _read_page(self, after: RowId | None, until: RowId, limit: int) -> Sequence[Any]:
        page = self._first_page if after is None else self._next_page
        given = {"after": after, "until": until, "rows": limit}
        with translated(f"read {self._table.full_name}"):
            return await fetch(self._engine, page, given, writing=False)

    async def count_running(self, span: Span) -> WindowCount:
        """How many rows a scan of the span would find; counted piece by piece, as it is read."""
        counted, after = WindowCount(), span.after
        while True:
            page = self.page(after, span.until, COUNTED_AT_ONCE).subquery()
            read, *found, after = (await self._read(_count(page, self._table)))[0]
            counted = counted.plus(WindowCount(*found))
            if read < COUNTED_AT_ONCE:
                return counted

    def page(self, after: RowId | None, until: RowId, limit: int) -> sa.Select[Any]:
        """The statement that reads a page of running rows, in the window or not."""
        given = {"after": after, "until": until, "rows": limit}
        page = self._page(first=after is None)
        return page.params({name: value for name, value in given.items() if value is not None})

    def _page(self, *, first: bool) -> sa.Select[Any]:
        table = self._table
        kind = table.id.type
        query = table.select_rows().add_columns(self._in_window.label("in_window"))
        query = query.where(table.is_running, table.id <= sa.bindparam("until", type_=kind))
        if not first:
            query = query.where(table.id > sa.bindparam("after", type_=kind))
        return query.order_by(table.id).limit(sa.bindparam("rows", type_=sa.Integer))

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated(f"read {self._table.full_name}"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """Finish those rows that are still running with the run id that was seen; journal them.

        Does not wait for a row that another transaction has locked: whoever locked it is writing
        it, and if not, the next pass will.
        """
        try:
            with translated(f"write {self._table.full_name}"):
                given = _arrays(pass_id, outcomes)
                rows = await fetch(self._engine, self._write, given, writing=True)
                return Written(frozenset(id_ for (id_,) in rows))
        except Exception as error:
            refusal, lost = refusal_of_a_row(error.__cause__), is_race(error.__cause__)
            if refusal is None and not lost:
                raise
            if len(outcomes) == 1:
                return Written(frozenset(), {outcomes[0].row.id: refusal} if refusal else {})
            return await self._finish_in_halves(pass_id, outcomes)

    async def _finish_in_halves(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        # One row that the database refuses must not keep the rest of its batch from being
        # written: halving finds it in a few statements.
        middle = len(outcomes) // 2
        first = await self.finish_if_running(pass_id, outcomes[:middle])
        second = await self.finish_if_running(pass_id, outcomes[middle:])
        return Written(first.ids | second.ids, {**first.refused, **second.refused})


def _in_window(table: MappedTable, window: Window) -> sa.ColumnElement[bool]:
    made = table.created_at
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if window.since is not None:
        conditions.append(made >= window.since)
    if window.until is not None:
        conditions.append(made < window.until)
    if window.workflow_type is not None:
        conditions.append(table.workflow_type == window.workflow_type)
    return sa.and_(*conditions)


def _count(page: sa.Subquery, table: MappedTable) -> sa.Select[Any]:
    """Rows of the page; those in the window, when they were created; and the page's last id."""
    row_id, _, _, made, _, in_window = page.c
    last = sa.func.array_agg(postgresql.aggregate_order_by(row_id, row_id.desc()))[1]
    return sa.select(
        sa.func.count(),
        sa.func.count().filter(in_window),
        sa.func.min(made).filter(in_window),
        sa.func.max(made).filter(in_window),
        sa.type_coerce(last, table.id.type),
    )


def _arrays(pass_id: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
    return {
        "pass_id": UUID(pass_id),
        "given_id": [o.row.id for o in outcomes],
        "given_workflow_id": [o.row.workflow_id for o in outcomes],
        "given_run_id": [o.row.run_id for o in outcomes],
        "given_namespace": [o.row.namespace for o in outcomes],
        "given_created_at": [o.row.created_at for o in outcomes],
        "given_status": [o.status for o in outcomes],
        "given_message": [o.error_message for o in outcomes],
        "given_evidence": [o.temporal_status for o in outcomes],
        "given_final_run_id": [o.final_run_id for o in outcomes],
        "given_close_time": [o.completed_at for o in outcomes],
    }
