"""The database side of the main path. Imported when it first runs, never in a workflow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from reconciler.core.errors import ConfigurationError, DatabaseUnfit, DatabaseUnusable
from reconciler.core.model import CloseStatus
from reconciler.core.text import one_line
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.encoding import storable
from reconciler.postgres.connection.engine import sqlstate, translated
from reconciler.postgres.connection.queries import OneRoundTrip, sets_up_transactions
from reconciler.postgres.connection.recovery import is_of_connection, is_race, renew_connections
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.table.checks.table import ReadOnly
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.settings.table import TableSettings
from reconciler.temporal.failures.redactor import Redactor
from reconciler.worker.database.chosen_statuses import ChosenStatuses
from reconciler.worker.report import EndReport

Log: TypeAlias = logging.Logger | logging.LoggerAdapter[Any]
_Execute: TypeAlias = Callable[[Mapping[str, object]], Awaitable[Sequence[int]]]

#: Seconds for one write, everything included. Shorter than an attempt of the activity, so that it
#: can still report the error: SQLAlchemy takes up to two more to close a silent connection.
WRITE_TIMEOUT = 5
#: PostgreSQL's code for a statement that was prepared before the table was altered.
ALTERED = "0A000"
#: Milliseconds that the server waits for the row while another transaction has it locked.
LOCK_TIMEOUT = 3_000
#: Seconds of `WRITE_TIMEOUT` for redaction; after that the whole text is replaced.
REDACTION_TIMEOUT = 1.0


IN_DOUBT = (
    "no row of %s is written: %d rows of this workflow id have no run id, and it is in doubt which "
    "of them is this workflow's; the reconciler will look at them"
)
SEVERAL = "%d rows of %s have the run id of this workflow; all of them are finished"


class Written(NamedTuple):
    """The counts of `main_path_write`."""

    finished: int
    in_doubt: int
    #: Rows of any status that may be the workflow's.
    known: int

    def log(self, table: str, log: Log) -> None:
        """Log what an operator should know about it."""
        if self.in_doubt:
            log.warning(IN_DOUBT, table, self.in_doubt)
        if self.finished > 1:
            log.info(SEVERAL, self.finished, table)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What depends on the table as it was when it was mapped."""

    table: MappedTable
    #: Executes the write; returns the counts of `main_path_write`.
    execute: _Execute
    redactor: Redactor
    statuses: ChosenStatuses


class RowWriter:
    """Writes the ends of single workflows to the application's table."""

    def __init__(self, engine: AsyncEngine, settings: TableSettings, *, owned: bool) -> None:
        """`owned`: close the engine with the writer."""
        self._engine = engine
        self._settings = settings
        self._owned = owned
        self._prepared: _Prepared | None = None
        self._mapping = asyncio.Lock()

    async def prepare(self) -> None:
        """Map the table, as the first report would. Raises `DatabaseUnfit`, `DatabaseUnusable`."""
        async with asyncio.timeout(WRITE_TIMEOUT):
            self._prepared = await self._prepare()

    async def finish(self, report: EndReport, namespace: str | None, close_time: datetime) -> bool:
        """Finish the workflow's row; return whether there was one that was still running.

        Raises as `write` does.
        """
        written = await self.write(report, namespace, close_time, activity.logger)
        return written is not None and written.finished > 0

    async def write(
        self,
        report: EndReport,
        namespace: str | None,
        close_time: datetime,
        log: Log,
        *,
        has_closed: bool = False,
    ) -> Written | None:
        """Finish the workflow's rows that are still running; None if such ends are left.

        `has_closed`: whether the workflow has, so that its id may be in use again.
        Raises `ConfigurationError` and `DatabaseUnfit` if a retry cannot succeed, otherwise
        `DatabaseUnusable`.
        """
        status = self._status_value(report.status) if report.value is None else report.value
        if status is None:
            return None
        parameters = {
            "given_workflow_id": report.workflow_id,
            "given_run_id": report.run_id,
            "given_namespace": namespace,
            "given_status": status,
            "given_close_time": _as_utc(close_time),
            "given_closed": _as_utc(close_time) if has_closed else None,
            "given_started": report.start_time and _as_utc(report.start_time),
        }
        # The same choice as that of a pass with these settings.
        decodes = self._settings.decodes and report.decoded_message is not None
        message = report.decoded_message if decodes else report.error_message
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                written = await self._write(parameters, message)
        except TimeoutError:
            if self._owned:  # an application may use all of its connections itself
                await renew_connections(self._engine)
            raise DatabaseUnusable(
                f"cannot write {self._settings.table}: no free connection, or no answer from the "
                f"database, within {WRITE_TIMEOUT} s"
            ) from None
        written.log(self._settings.table, log)
        return written

    def _status_value(self, status: str) -> str | None:
        """The value of the status column for this end; None if such rows are left."""
        values = self._settings.status_values()
        if status in CloseStatus.__members__:
            return values.of(CloseStatus(status))
        if status not in values.ends:
            raise ConfigurationError(
                f"status {one_line(status, 100)!r} is none of {', '.join(values.ends)}",
                "pass one of these or Temporal's name, such as COMPLETED, or set "
                "RECONCILER_STATUSES__*",
            )
        return status

    async def _write(
        self, parameters: Mapping[str, object], message: str | None, *, again: bool = True
    ) -> Written:
        mapped = self._prepared
        try:
            return await self._write_once(parameters, message)
        except DatabaseUnusable as error:
            if not await self._recover(error, mapped) or not again:
                raise
        # The write is a compare-and-set: tried twice, it still changes a row only once.
        return await self._write(parameters, message, again=False)

    async def _recover(self, error: DatabaseUnusable, mapped: _Prepared | None) -> bool:
        """Prepare for another try, cheaper than by pings; return whether it may succeed at once.

        `mapped`: what the failed write used. Another report may have replaced it since.
        """
        if renewed := isinstance(error, ReadOnly) or is_of_connection(error):
            await renew_connections(self._engine)
        # Whatever was rejected: the table may have been altered since it was mapped.
        if self._prepared is mapped:
            self._prepared = None
        rejected = isinstance(error, DatabaseUnfit) or sqlstate(error.__cause__) == ALTERED
        return renewed or is_race(error) or (rejected and mapped is not None)

    async def _write_once(self, parameters: Mapping[str, object], message: str | None) -> Written:
        prepared = await self._mapped()
        if message:
            message = storable(await prepared.redactor.line(message), prepared.table.codec)
        parts = prepared.table.workflow_ids.parameters([str(parameters["given_workflow_id"])])
        parameters = {**parameters, **parts, "given_message": message}
        with translated(f"write {self._settings.table}", self._engine):
            await prepared.statuses.check(str(parameters["given_status"]))
            return Written(*await prepared.execute(parameters))

    async def _mapped(self) -> _Prepared:
        """What depends on the table, mapped once for all reports that need it."""
        async with self._mapping:
            if self._prepared is None:
                self._prepared = await self._prepare()
            return self._prepared

    async def _execute(
        self, statement: sa.Select[Any], parameters: Mapping[str, object]
    ) -> Sequence[int]:
        async with self._engine.connect() as connection:
            if not sets_up_transactions(self._engine):
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                counts: Sequence[int] = (await connection.execute(statement, parameters)).one()
                await connection.commit()
            except asyncio.CancelledError:
                # No answer in time: its network may have dropped all idle connections silently.
                await renew_connections(self._engine)
                raise
            return counts

    async def _prepare(self) -> _Prepared:
        # The application's listeners show it one tenant's rows; our own connections have none.
        table = await map_table(
            self._engine, self._settings.table_mapping(), writing=True, partial=not self._owned
        )
        # It returns counts, whatever the key is: asyncpg knows their type without asking.
        statement = main_path_write(table, LOCK_TIMEOUT)
        execute: _Execute = partial(self._execute, statement)
        if isinstance(self._engine.dialect, PoolerSafeDialect):
            execute = OneRoundTrip(self._engine, statement).fetch_one
        limit = self._settings.message_limit(table.error_message_length)
        redactor = Redactor(self._settings.redaction(), limit, REDACTION_TIMEOUT)
        return _Prepared(table, execute, redactor, ChosenStatuses(self._engine, table))

    async def close(self) -> None:
        """Close the engine if it is the writer's own."""
        if self._owned:
            await self._engine.dispose()


def _as_utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
