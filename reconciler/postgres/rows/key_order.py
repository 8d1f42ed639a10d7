"""The running rows in the order of their keys: counted and skipped without being read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import RowId
from reconciler.core.ports import Reach
from reconciler.core.report.sweep import Rest
from reconciler.postgres.connection.engine import sqlstate, translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.table.mapping import MappedTable

#: Rows that one statement skips: a long statement would harm production as a long transaction does.
SKIPPED_AT_ONCE = 20_000
#: The class of SQLSTATEs for values that a type does not have; asyncpg's own, too.
_DATA_EXCEPTION = "22"


class KeyOrder:
    """The running rows of a table, or those that meet a condition."""

    def __init__(
        self, engine: AsyncEngine, table: MappedTable, condition: sa.ColumnElement[bool]
    ) -> None:
        self._engine, self._table, self._condition = engine, table, condition
        self._doing = f"read {table.full_name}"

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        """How far the first `rows` of those with `after` < id <= `until` reach."""
        counted, last = 0, None
        while counted < rows:
            size = min(rows - counted, SKIPPED_AT_ONCE)
            found, read = await self._skip(after, until, size)
            counted += found
            if found:
                after = last = self._table.key.decode(read)
            if found < size:
                break
        return Reach(counted, last)

    async def _skip(self, after: RowId | None, until: RowId, size: int) -> tuple[int, Any]:
        key = self._table.key
        given = {"after": key.encode(after), "until": key.encode(until), "rows": size}
        with translated(self._doing):
            ((found, last),) = await fetch(
                self._engine, self._first(is_next=after is not None), given
            )
        return found, last

    def _first(self, *, is_next: bool) -> sa.Select[Any]:
        """The number of the first rows, and the key of the last of them."""
        table = self._table
        rows = sa.select(table.id.label("id"), table.key.read.label("read"))
        rows = rows.where(table.is_running, self._condition, table.id <= table.key.given("until"))
        if is_next:
            rows = rows.where(table.id > table.key.given("after"))
        rows = rows.order_by(table.id).limit(sa.bindparam("rows", type_=sa.Integer))
        found = rows.cte(table.beside("found"))
        last = sa.select(found.c.read).order_by(found.c.id.desc()).limit(1).scalar_subquery()
        return sa.select(sa.select(sa.func.count()).select_from(found).scalar_subquery(), last)

    async def read_rest(self, recorded: Rest) -> Rest | None:
        """The keys that were recorded; None if their type has changed since."""
        key, table = self._table.key, self._table
        try:
            after = None if recorded.after is None else key.parse(recorded.after)
            rest = Rest(after, key.parse(recorded.until))
            given = {"after": key.encode(after), "until": key.encode(rest.until)}
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return None
        # Only in a comparison with the column does every parameter have its type.
        accepted = sa.select(sa.true()).where(table.id <= key.given("until")).limit(1)
        if after is not None:
            accepted = accepted.where(table.id > key.given("after"))
        try:
            with translated(self._doing):
                await fetch(self._engine, accepted, given)
        except DatabaseUnusable as error:
            if sqlstate(error.__cause__).startswith(_DATA_EXCEPTION):
                return None
            raise
        return rest
