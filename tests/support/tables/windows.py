"""Stores for a window of the running rows, and rows with given times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.core.model import RowId
from reconciler.core.report.progress import Span
from reconciler.core.window import EVERY, AgeSpread, Window
from reconciler.postgres.rows.reading import Read
from reconciler.postgres.rows.reading import Reading as ReadingRows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database

DAY = datetime(2026, 11, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)

THE_DAY = Window(DAY, DAY + 24 * HOUR)


async def store_of(
    database: Database, window: Window = EVERY, names: TableNames | None = None
) -> Reading:
    return Reading(database.engine, await database.table(names or TableNames()), window)


class Reading(PostgresStore):
    """Records how many rows each statement returned."""

    reads: tuple[int, ...] = ()

    async def last_running(self) -> RowId | None:
        last = await super().last_running()
        self.reads += (int(last is not None),)
        return last

    async def _counted(self, *of: Any) -> list[Any]:
        self.reads += (1,)
        return await super()._counted(*of)

    async def _read_page(self, page: ReadingRows, given: Mapping[str, Any]) -> Read:
        read = await super()._read_page(page, given)
        self.reads += (len(read),)
        return read


async def counted(store: PostgresStore) -> AgeSpread:
    until = await store.last_running()
    assert until is not None
    return await store.count_running(Span(None, until))


async def insert_at(database: Database, *times: datetime | None, **columns: object) -> list[int]:
    return [await database.insert("wf", "run", created_at=time, **columns) for time in times]


async def nullable(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER created_at DROP NOT NULL")
