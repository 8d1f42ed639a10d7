"""The database side of the activity. Imported when the activity first runs, never in a workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from reconciler.core.errors import ConfigurationError, DatabaseUnfit, DatabaseUnusable
from reconciler.core.model import CloseStatus
from reconciler.core.text import one_line
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.encoding import storable
from reconciler.postgres.connection.engine import (
    forget_connections,
    is_lost,
    is_race,
    open_engine,
    sqlstate,
    translated,
)
from reconciler.postgres.rows.main_path_write import SLACK, main_path_write
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.settings.load import load_guest_settings
from reconciler.settings.model import DatabaseSettings
from reconciler.settings.table import TableSettings
from reconciler.temporal.failures.redactor import Redactor
from reconciler.worker.types import OwnRow

if TYPE_CHECKING:
    from reconciler.worker.types import EngineSource

#: Seconds for one write, all included. Less than the attempt it is part of, so that what went
#: wrong can still be told: after it, SQLAlchemy takes up to two more to close a silent connection.
WRITE_TIMEOUT = 5
#: PostgreSQL's code for a statement that was prepared for the table as it was.
ALTERED = "0A000"
#: Milliseconds that the server may wait for the row, while another transaction has it locked.
LOCK_TIMEOUT = 3_000
#: Seconds of `WRITE_TIMEOUT` for redaction: beyond it, the text is replaced as a whole.
REDACTION_TIMEOUT = 1.0

IN_DOUBT = (
    "no row of %s is written: %d rows of this workflow id have no run id and fit this workflow "
    "equally well; the reconciler will look at them"
)


class RowWriter:
    """Writes single rows of the application's table."""

    def __init__(self, engine: AsyncEngine, settings: TableSettings, *, owned: bool) -> None:
        self._engine = engine
        self._settings = settings
        self._redactor: Redactor | None = None
        self._owned = owned
        self._is_ours = isinstance(engine.dialect, PoolerSafeDialect)
        self._written: tuple[MappedTable, sa.Select[Any]] | None = None

    @classmethod
    def open(cls, engine: EngineSource | None) -> RowWriter:
        """Over the application's engine, or one of its own. Raises `ConfigurationError`."""
        if engine is None:
            own = load_guest_settings(DatabaseSettings)
            return cls(open_engine(own.dsn(), one_round_trip=True), own, owned=True)
        settings = load_guest_settings(TableSettings)
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
                "pass one of these or Temporal's name, such as COMPLETED, or set "
                "RECONCILER_STATUSES__*"
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
            "given_latest": row.start_time and _as_utc(row.start_time) + SLACK,
        }
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                try:
                    return await self._write(given, error_message)
                except DatabaseUnusable as error:
                    if not await self._is_worth_another_try(error):
                        raise
                # The write is a compare-and-set: tried twice, it is still written once.
                return await self._write(given, error_message)
        except TimeoutError:
            raise DatabaseUnusable(
                f"cannot write {self._settings.table}: no free connection, or no answer from the "
                f"database, within {WRITE_TIMEOUT} s"
            ) from None

    async def _is_worth_another_try(self, error: DatabaseUnusable) -> bool:
        """Whether a connection had died unnoticed; or the row, or the table, has changed.

        To ask each connection first whether it lives would be as much again as the write.
        """
        lost = is_lost(error.__cause__)
        if lost and self._is_ours:
            await forget_connections(self._engine)
        # Whatever the database has refused: the table may have been altered since it was mapped.
        was_known = self._written is not None
        self._written = self._redactor = None
        refused = isinstance(error, DatabaseUnfit) or sqlstate(error.__cause__) == ALTERED
        return lost or is_race(error.__cause__) or (refused and was_known)

    async def _write(self, given: Mapping[str, object], error_message: str | None) -> bool:
        table, statement = await self._mapped()
        message = error_message and await self._message(table, error_message)
        given = {**given, "given_message": message}
        with translated(f"write {self._settings.table}", self._engine):
            finished, rivals = await self._fetch(statement, given)
        if rivals:
            activity.logger.warning(IN_DOUBT, self._settings.table, rivals + 1)
        return bool(finished)

    async def _fetch(
        self, statement: sa.Select[Any], given: Mapping[str, object]
    ) -> tuple[int, int]:
        async with self._engine.connect() as connection:
            # A transaction only for what the application may do at the beginning of each.
            if not self._engine.sync_engine.dispatch.begin:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            finished, rivals = (await connection.execute(statement, given)).one()
            await connection.commit()
            return finished, rivals

    async def _message(self, table: MappedTable, text: str) -> str:
        if self._redactor is None:
            limit = self._settings.message_limit(table.error_message_length)
            self._redactor = Redactor(self._settings.redaction(), limit, REDACTION_TIMEOUT)
        return storable(await self._redactor.line(text), table.codec)

    async def _mapped(self) -> tuple[MappedTable, sa.Select[Any]]:
        # Kept as long as it serves: what the database refuses is mapped again.
        if self._written is None:
            mapping = self._settings.table_mapping()
            table = await map_table(self._engine, mapping, writing=True)
            # Numbers, whatever the key is: asyncpg knows their type without asking.
            self._written = table, main_path_write(table, LOCK_TIMEOUT)
        return self._written

    async def close(self) -> None:
        """Close the engine if it is our own."""
        if self._owned:
            await self._engine.dispose()


def _as_utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
