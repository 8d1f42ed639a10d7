"""Reads rows of the application's table, even if some of them cannot be read.

A page is one statement, so one unreadable value fails it for all rows: a corrupted value, or one
on which a cast or a type's own function fails. Then the keys are read alone, and the rows by key in
halves, down to the single row; `halving.py` says how that is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import RowId, RunRow
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.guarded import Attempt
from reconciler.postgres.rows.halving import Halving
from reconciler.postgres.rows.rejection import may_concern_rows
from reconciler.postgres.table.mapping import MappedTable

#: Why a row is missing that the server neither returned nor rejected.
RACE = "it conflicted with another transaction"
_SOME = "some_keys"
_Given = Mapping[str, Any]


class Unread(NamedTuple):
    """A row that cannot be read."""

    key: RowId
    why: str

    def as_row(self, workflow_id: str = "") -> RunRow:
        """The row, with the values that are known."""
        return RunRow(
            self.key, workflow_id, None, None, unreadable=f"it cannot be read: {self.why}"
        )


@dataclass(frozen=True, slots=True)
class Read:
    """What a statement has read."""

    #: In their order.
    rows: Sequence[Any]
    #: The keys as they were read. Some of the rows may no longer exist.
    keys: Sequence[Any] | None = None
    #: Why rows cannot be read, by their keys.
    why: Mapping[Any, str] | None = None

    def __len__(self) -> int:
        return len(self.rows if self.keys is None else self.keys)

    @property
    def last(self) -> Any:
        """The key of the last row, as it was read."""
        return self.rows[-1][0] if self.keys is None else self.keys[-1]


class Reading:
    """A query over rows of the table, whose first column is `table.key.read`."""

    def __init__(
        self,
        engine: AsyncEngine,
        table: MappedTable,
        query: sa.Select[Any],
        keys: sa.Select[Any] | None = None,
        by_key: sa.Select[Any] | None = None,
    ) -> None:
        """`keys` and `by_key` replace the query if its rows must be read apart.

        For a query that is not simply one of the table: the keys alone, and rows of any key.
        """
        self._engine, self._table, self._query = engine, table, query
        self._keys, self._by_key = keys, by_key
        self._doing = f"read {table.full_name}"
        self._halving = Halving(self._doing)

    async def read(self, given: _Given | None = None) -> Read:
        """Read all rows, in one statement if possible.

        Raises `DatabaseUnusable`, also if many rows were tried and none could be read.
        """
        with translated(self._doing):
            try:
                return Read(await fetch(self._engine, self._query, given))
            except Exception as error:
                if not may_concern_rows(error):
                    raise
                return await self._read_apart(given or {}, error)

    def each(self, read: Read) -> Iterator[Any]:
        """The rows in their order, an `Unread` for each that cannot be read."""
        if read.keys is None:
            yield from read.rows
            return
        rows, why = {row[0]: row for row in read.rows}, read.why or {}
        for key in read.keys:
            if key in rows:
                yield rows[key]
            elif key in why:
                yield Unread(self._table.key.decode(key), why[key])

    async def _read_apart(self, given: _Given, error: Exception) -> Read:
        query = self._query if self._by_key is None else self._by_key
        only_keys = self._keys
        if only_keys is None:
            only_keys = query.with_only_columns(self._table.key.read)
        keys = [key for (key,) in await fetch(self._engine, only_keys, given)]
        only_some = query.where(self._table.key.is_among(_SOME))
        rows: list[Any] = []

        async def attempt(some: Sequence[Any]) -> Attempt:
            rows.extend(await fetch(self._engine, only_some, {**given, _SOME: list(some)}))
            return Attempt(dict.fromkeys(range(len(some))))

        done = await self._halving.write(attempt, keys)
        if done.failure is not None:
            raise done.failure
        if done.given_up and not done.written:
            raise error
        missed = (place for place in range(len(keys)) if place not in done.written)
        return Read(rows, keys, {keys[place]: done.refused.get(place, RACE) for place in missed})
