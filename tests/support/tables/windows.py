"""Stores over a window of the running rows, and rows in it and outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from reconciler.core.progress import Span
from reconciler.core.window import EVERY, AgeSpread, Window
from reconciler.postgres.rows.reading import Read
from reconciler.postgres.rows.reading import Reading as ReadingRows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database

DAY = datetime(2026, 11, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)

_Rows = TypeVar("_Rows", bound=Sized)
THE_DAY = Window(DAY, DAY + 24 * HOUR)


async def store_of(
    database: Database, window: Window = EVERY, names: TableNames | None = None
) -> Reading:
    return Reading(database.engine, await database.table(names or TableNames()), window)


class Reading(PostgresStore):
    """Notes how many rows each statement has returned."""

    reads: tuple[int, ...] = ()

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        return self._noted(await super()._read(query))

    async def _counted(self, *of: Any) -> list[Any]:
        self.reads += (1,)
        return await super()._counted(*of)

    async def _read_page(self, page: ReadingRows, given: Mapping[str, Any]) -> Read:
        return self._noted(await super()._read_page(page, given))

    def _noted(self, rows: _Rows) -> _Rows:
        self.reads += (len(rows),)
        return rows


async def counted(store: PostgresStore) -> AgeSpread:
    until = await store.last_running()
    assert until is not None
    return await store.count_running(Span(None, until))


async def insert_at(database: Database, *times: datetime | None, **columns: object) -> list[int]:
    return [await database.insert("wf", "run", created_at=time, **columns) for time in times]


async def nullable(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
