"""The wiring: settings in, something that can run a pass out. Names the concrete adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.runtime import Runtime

from reconciler.core.model import Observation, Verdict
from reconciler.core.report import PassReport
from reconciler.core.verdict import Policy, decide
from reconciler.pass_log import PassLog
from reconciler.ports import Observer
from reconciler.postgres.engine import forget_connections, open_engine
from reconciler.postgres.history import PassHistory
from reconciler.postgres.lease import Lease
from reconciler.postgres.lookup import StoredRow, find_rows
from reconciler.postgres.mapping import MappedTable, map_table
from reconciler.postgres.own_schema import check_own_schema
from reconciler.postgres.store import PostgresStore
from reconciler.postgres.tables import TableNames
from reconciler.reconcile import run_pass
from reconciler.settings.load import temporal_environment
from reconciler.settings.model import Settings
from reconciler.temporal.connect import connect, load_config
from reconciler.temporal.limiter import RateLimiter
from reconciler.temporal.namespace import Namespace, describe_namespace
from reconciler.temporal.probe import TemporalProbe
from reconciler.temporal.rpc import Rpc

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row: as it stands, what Temporal says, and what a pass would make of it."""

    stored: StoredRow
    observation: Observation
    verdict: Verdict
    #: Whether a pass looks at the row at all.
    running: bool


@dataclass(frozen=True, slots=True)
class App:
    """Both connections, open and checked."""

    settings: Settings
    #: As it was at the start.
    namespace: Namespace
    policy: Policy
    rpc: Rpc
    history: PassHistory
    _engine: AsyncEngine
    _table: MappedTable
    _probe: TemporalProbe
    _pass_log: PassLog

    async def run_pass(
        self, mode: str, *, dry_run: bool, observers: Sequence[Observer] = ()
    ) -> PassReport:
        """One pass over every running row."""
        return await run_pass(
            PostgresStore(self._engine, self._table),
            self._probe,
            [self.history, *observers],
            self.policy,
            self.settings.pass_options(mode, dry_run=dry_run),
            now=datetime.now(UTC),
            pass_log=self._pass_log,
        )

    def lease(self, holder: str) -> Lease:
        """The lease on this table and namespace, for one process."""
        return Lease(self._engine, self._table.full_name, self.namespace.name, holder)

    @property
    def retention(self) -> timedelta:
        """The namespace's retention, as far as known."""
        return (self._probe.namespace or self.namespace).retention

    async def check_temporal(self) -> Namespace:
        """Ask Temporal for the namespace, past the rate limit that a pass keeps busy.

        Raises `TemporalUnusable`.
        """
        return await describe_namespace(Rpc(self.rpc.client, RateLimiter(0)))

    async def forget_connections(self) -> None:
        """Start anew with the database: what is pooled may be dead, or lead to a replica."""
        await forget_connections(self._engine)

    async def explain(self, workflow_id: str) -> list[Explanation]:
        """Every row of this workflow id, whatever its status. Writes nothing."""
        now = datetime.now(UTC)
        return [
            Explanation(
                stored=stored,
                observation=(observation := await self._probe.observe(stored.row)),
                verdict=decide(stored.row, observation, self.policy, now),
                running=stored.status == self.policy.statuses.running,
            )
            for stored in await find_rows(self._engine, self._table, workflow_id)
        ]

    async def observe_id(self, workflow_id: str) -> Observation:
        """What Temporal says about the current run of a workflow id, with no row to match."""
        return await self._probe.observe_current(workflow_id)


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    writing: bool,
    looping: bool = False,
    temporal: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
) -> AsyncIterator[App]:
    """Connect to both sides and check them, and close everything in the end.

    Raises `ConfigurationError` or `Unusable` before anything is written. With `writing=False`
    the right to read the application's table is enough; `looping` takes the lease's besides.
    `temporal` are arguments of `Client.connect` in place of Temporal's own settings.
    """
    temporal = temporal or load_config(temporal_environment())
    engine = open_engine(settings.database_url.get_secret_value())
    try:
        names, running = settings.table_names(), settings.statuses.running
        table = await map_table(engine, names, running, writing=writing)
        if writing:
            await check_own_schema(engine, looping=looping)
        rpc, namespace = await connect(temporal, settings.max_rps, runtime)
        log.debug(
            "connected",
            temporal=temporal["target_host"],
            namespace=namespace.name,
            retention=str(namespace.retention),
            capabilities=sorted(namespace.capabilities),
            table=names.full_name,
        )
        policy = settings.policy(namespace.retention, table.error_message_length)
        history = PassHistory(engine, names.full_name, namespace.name, policy.statuses)
        probe = TemporalProbe(rpc, start_delay=settings.grace)
        yield App(settings, namespace, policy, rpc, history, engine, table, probe, PassLog())
    finally:
        await engine.dispose()


async def migrate(settings: Settings) -> list[str]:
    """Bring the database to what this version needs; returns what was done, a line each."""
    from reconciler.postgres import migrate as migrations  # noqa: PLC0415 - see below

    return await migrations.migrate(*_migration_arguments(settings))


async def migration_sql(settings: Settings, output: TextIO) -> None:
    """Print what `migrate` would run on this database."""
    # Alembic is big, and a loop that runs for months has no use for it.
    from reconciler.postgres import migrate as migrations  # noqa: PLC0415

    await migrations.migration_sql(*_migration_arguments(settings), output)


def _migration_arguments(settings: Settings) -> tuple[str, TableNames, str]:
    dsn = settings.database_url.get_secret_value()
    return dsn, settings.table_names(), settings.statuses.running
