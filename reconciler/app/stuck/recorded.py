"""`reconciler stuck` without `--check`: what passes have recorded. Needs only the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.app.stuck.report import StuckReport
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import LeaveReason
from reconciler.core.stuck.condition import StuckRow
from reconciler.core.stuck.summary import MAX_GROUPS, Selection
from reconciler.postgres.connection.clock import DatabaseClock
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.schema_check import check_readable
from reconciler.postgres.journal.stuck.reader import StuckReader
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.settings.model import Settings
from reconciler.temporal.config.load import load_namespace


@dataclass(frozen=True, slots=True)
class Record:
    """The stuck rows of a table, as passes have seen them."""

    engine: AsyncEngine
    table: MappedTable
    reader: StuckReader
    history: PassHistory
    judged_every: timedelta

    async def report(self, selection: Selection) -> StuckReport:
        """The sums of those that are asked for. Raises `DatabaseUnusable`."""
        last = await self.history.heartbeat()
        groups = await self.reader.groups(selection, MAX_GROUPS)
        at_risk = await self.reader.counts_at_risk()
        running = PostgresStore(self.engine, self.table)
        return StuckReport(
            now=last.read_at if last else await DatabaseClock(self.engine).read(),
            checked_at=last.finished_at if last else None,
            rows=await self.reader.counts(selection),
            groups=groups.largest,
            all_groups=groups.groups,
            unknown=at_risk.get(LeaveReason.UNKNOWN.value, 0),
            never_checked=last is None and await running.last_running() is not None,
            judged_every=self.judged_every,
        )

    def rows(
        self, selection: Selection, limit: int | None
    ) -> AsyncGenerator[Sequence[StuckRow], None]:
        """The rows, those first that have been stuck for longest."""
        return self.reader.rows(selection, limit)


@asynccontextmanager
async def open_record(settings: Settings) -> AsyncIterator[Record]:
    """Open the record for reading. Raises `ConfigurationError` if none is kept, or `Unusable`."""
    if not settings.journal:
        raise ConfigurationError(
            "RECONCILER_JOURNAL is off, so passes do not record which rows are stuck",
            "ask Temporal with --check",
        )
    of_connection = load_namespace(settings.temporal_environment())
    async with using_engine(settings.dsn()) as engine:
        table = await map_table(engine, settings.table_mapping(), writing=False)
        await check_readable(engine, stuck=True)
        namespace = table.scope_namespace(of_connection)
        reader = StuckReader(engine, table, namespace)
        history = PassHistory(engine, table.scope, namespace, settings.status_values())
        yield Record(engine, table, reader, history, settings.full_sweep_interval)
