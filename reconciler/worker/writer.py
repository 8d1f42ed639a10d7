"""The database side of the activity. Imported when the activity first runs, never in a workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import CloseStatus
from reconciler.core.text import one_line
from reconciler.errors import ConfigurationError, DatabaseUnusable
from reconciler.postgres.engine import open_engine, translated
from reconciler.postgres.mapping import MappedTable, map_table
from reconciler.postgres.write import own_row_write
from reconciler.settings.load import load_settings
from reconciler.settings.model import DatabaseSettings
from reconciler.settings.table import TableSettings
from reconciler.worker.own_row import OwnRow

if TYPE_CHECKING:
    from reconciler.worker.activity import EngineSource

#: Seconds for one write, all included. Less than the attempt it is part of, so that what went
#: wrong can still be told: after it, SQLAlchemy takes up to two more to close a silent connection.
WRITE_TIMEOUT = 5
#: Milliseconds that the server may take for the statement, and in it for a lock.
STATEMENT_TIMEOUT = 3_500
LOCK_TIMEOUT = 3_000

#: A row without a run id that was made this much later than the workflow started is for a later
#: one. Wide, since database and Temporal have clocks of their own.
LATEST_ROW = timedelta(seconds=60)

_LIMITS = sa.text(
    f"SELECT set_config('statement_timeout', '{STATEMENT_TIMEOUT}', true),"
    f" set_config('lock_timeout', '{LOCK_TIMEOUT}', true),"
    # What our constants are written for.
    " set_config('standard_conforming_strings', 'on', true)"
)


class RowWriter:
    """Writes single rows of the application's table."""

    def __init__(self, engine: AsyncEngine, settings: TableSettings, *, owned: bool) -> None:
        self._engine = engine
        self._settings = settings
        self._redaction = settings.redaction()
        self._owned = owned
        self._table: MappedTable | None = None

    @classmethod
    def open(cls, engine: EngineSource | None) -> RowWriter:
        """Over the application's engine, or one of its own. Raises `ConfigurationError`."""
        if engine is None:
            own = load_settings(DatabaseSettings)
            return cls(open_engine(own.dsn()), own, owned=True)
        settings = load_settings(TableSettings)
        made = engine if isinstance(engine, AsyncEngine) else engine()
        if not isinstance(made, AsyncEngine):
            raise ConfigurationError(
                f"engine= made a {type(made).__name__} where an AsyncEngine is needed"
            )
        return cls(made, settings, owned=False)

    def status_value(self, status: str) -> str:
        """What the status column says for this end. Raises `ConfigurationError`."""
        values = self._settings.status_values()
        if status in CloseStatus.__members__:
            return values.of(CloseStatus(status))
        ends = dict.fromkeys(values.of(each) for each in CloseStatus)
        if status not in ends:
            raise ConfigurationError(
                f"status {one_line(status, 100)!r} is none of {', '.join(ends)}: "
                "pass one of these, or set RECONCILER_STATUSES__*"
            )
        return status

    def chosen(self, error_message: str | None, decoded: str | None) -> str | None:
        """Which of the two is for the row: the same as a pass with these settings would write."""
        return error_message if decoded is None or not self._settings.decodes else decoded

    async def finish(
        self,
        row: OwnRow,
        status: str,
        error_message: str | None,
        close_time: datetime,
    ) -> bool:
        """Finish the workflow's row; whether there was one that was still running.

        Raises `DatabaseUnusable`, `DatabaseUnfit` if trying again is of no use.
        """
        given = {
            "given_workflow_id": row.workflow_id,
            "given_run_id": row.run_id,
            "given_namespace": row.namespace,
            "given_status": status,
            "given_close_time": _as_utc(close_time),
            "given_latest": row.start_time and _as_utc(row.start_time) + LATEST_ROW,
        }
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                table = await self._mapped()
                limit = self._settings.message_limit(table.error_message_length)
                given["given_message"] = error_message and self._redaction.line(
                    error_message, limit
                )
                return await self._write(table, given)
        except TimeoutError:
            raise DatabaseUnusable(
                f"cannot write {self._settings.table}: no free connection, or no answer from the "
                f"database, within {WRITE_TIMEOUT} s"
            ) from None

    async def _write(self, table: MappedTable, given: Mapping[str, object]) -> bool:
        with translated(f"write {self._settings.table}", self._engine):
            async with self._engine.begin() as connection:
                await connection.execute(_LIMITS)
                result = await connection.execute(own_row_write(table), given)
                return result.first() is not None

    async def _mapped(self) -> MappedTable:
        # Kept once it was found to fit; what does not fit is looked at anew, it may be mended.
        if self._table is None:
            mapping = self._settings.table_mapping()
            self._table = await map_table(self._engine, mapping, writing=True)
        return self._table

    async def close(self) -> None:
        """Close the engine if it is our own."""
        if self._owned:
            await self._engine.dispose()


def _as_utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
