"""Maps the table when a pass begins: a loop runs for months, and columns change meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Outcome, Rival, RowId, RunRow, Unknown
from reconciler.core.ports import Ending, Reach, Written
from reconciler.core.report.sweep import Rest
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.names import TableMapping


class RemappedStore:
    """Implements `Store` for one pass that writes; maps the table first.

    A table that no longer fits ends the pass, with the message of a failed start.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        mapping: TableMapping,
        make: Callable[[MappedTable], PostgresStore],
    ) -> None:
        self._engine, self._mapping, self._make = engine, mapping, make
        self._table: MappedTable | None = None
        self._made: PostgresStore | None = None

    async def last_running(self) -> RowId | None:
        """As `PostgresStore` does; so do the other methods."""
        return await (await self._store()).last_running()

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """As above."""
        return await (await self._store()).scan_running(after, until, limit)

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        """As above."""
        return await (await self._store()).reach(after, until, rows)

    async def read_rest(self, recorded: Rest) -> Rest | None:
        """As above."""
        return await (await self._store()).read_rest(recorded)

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        """As above."""
        return await (await self._store()).rivals(endings)

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """As above."""
        return await (await self._store()).finish_if_running(pass_id, outcomes)

    async def table(self) -> MappedTable:
        """The table as it is mapped for this pass."""
        if self._table is None:
            self._table = await map_table(self._engine, self._mapping, writing=True)
        return self._table

    async def _store(self) -> PostgresStore:
        if self._made is None:
            self._made = self._make(await self.table())
        return self._made
