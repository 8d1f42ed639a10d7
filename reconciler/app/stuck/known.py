"""What passes have recorded of rows, where Temporal is asked: by it, `since` survives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from reconciler.app.app import App
from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import RowId
from reconciler.core.stuck.condition import StuckRow
from reconciler.postgres.journal.schema_check import check_readable
from reconciler.postgres.journal.stuck.record import PostgresStuckRows
from reconciler.postgres.table.mapping import MappedTable

#: The entries of stuck rows, by id.
Known: TypeAlias = Callable[[Sequence[RowId]], Awaitable[Mapping[RowId, StuckRow]]]


async def known_of(app: App) -> Known:
    """What looks up entries; it finds none if none are recorded, or they may not be read."""

    async def mapped() -> MappedTable:
        return app.table

    record = PostgresStuckRows(app.engine, mapped, app.scope_namespace)
    has_record = app.journals
    try:
        if has_record:
            await check_readable(app.engine, stuck=True)
    except DatabaseUnfit:
        has_record = False

    async def known(ids: Sequence[RowId]) -> Mapping[RowId, StuckRow]:
        return (await record.known(ids)).stuck if has_record and ids else {}

    return known
