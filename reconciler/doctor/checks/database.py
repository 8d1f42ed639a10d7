"""The checks of the database: what a start checks, by the same functions, and what hurts later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.doctor.checks.table import PRIVILEGES, check_table
from reconciler.doctor.findings import Finding, Level, not_checked, ok, warning
from reconciler.doctor.rules import connection as judge
from reconciler.doctor.rules import other_passes as rivals
from reconciler.doctor.rules.clocks import HOST, host_clock
from reconciler.doctor.runner import Ask, Checks
from reconciler.postgres.diagnose.page_plan import plan_page
from reconciler.postgres.diagnose.pooler import Pooling, find_route
from reconciler.postgres.diagnose.sample import last_statuses
from reconciler.postgres.diagnose.server import Server, look_at_server
from reconciler.postgres.journal.lease import held_leases
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_schema
from reconciler.postgres.rows.rivals import are_looked_for, is_indexed
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.schema import OWN_SCHEMA, REVISION
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import is_running
from reconciler.postgres.table.relation import quoted_name
from reconciler.settings.model import Settings

DATABASE, POOLER, SCHEMA = "database", "pooler", "schema"
_NO_TABLE = "the table cannot be used"
#: Passes that are looked at, and rows to see which statuses there are.
PASSES, STATUSES_AMONG = 100, 1_000
#: Seconds that a second connection may take to come through a pooler.
POOLER_PATIENCE = 3.0


class DatabaseChecks:
    """All that can be said without Temporal. Nothing is written: every transaction is read-only."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        namespace: str,
        clock: Callable[[], datetime],
    ) -> None:
        """`clock` is this host's."""
        self.checks = Checks("the database", "check DATABASE_URL")
        #: The table, as far as it can be read.
        self.table: MappedTable | None = None
        self._named: MappedTable | None = None
        self._server: Server | None = None
        self._engine = engine.execution_options(postgresql_readonly=True)
        self._settings, self._namespace, self._clock = settings, namespace, clock

    @property
    def engine(self) -> AsyncEngine:
        """For further questions; read-only."""
        return self._engine

    def now(self) -> datetime:
        """The time by the database's clock, which rows and passes are dated by."""
        return self._clock() if self._server is None else self._clock() - self._server.ahead

    async def run(self) -> None:
        """Make them all, one after the other."""
        check = self.checks.check
        await check(DATABASE, self._connection, vital=True)
        await check(POOLER, self._pooler)
        await check(HOST, self._host_clock)
        await check(judge.TABLE, self._mapping, also=[PRIVILEGES])
        await check(judge.INDEX, self._index)
        await self._also(judge.INDEX, self._shared_ids)
        if not self._settings.journal:
            self.checks.findings += [
                ok(name, "RECONCILER_JOURNAL is off: there is none")
                for name in (SCHEMA, rivals.LEASE, rivals.PASSES)
            ]
            await self._also(judge.TABLE, self._statuses)
            return
        await check(SCHEMA, self._schema)
        await check(rivals.LEASE, self._lease)
        await check(rivals.PASSES, self._passes)
        await self._also(judge.TABLE, self._statuses)

    async def _also(self, name: str, ask: Ask) -> None:
        """More of a check that has been made: what cannot be asked has been told."""
        if self.checks.gone is None:
            await self.checks.check(name, ask)

    async def _connection(self) -> Sequence[Finding]:
        server = self._server = await look_at_server(self._engine, self._clock)
        told = f"PostgreSQL {server.version}, database {server.database} as {server.role}"
        return [judge.connected(DATABASE, told, server.round_trip)]

    async def _pooler(self) -> Sequence[Finding]:
        route = await find_route(self._engine, POOLER_PATIENCE)
        told = {
            Pooling.NONE: "none: directly connected",
            Pooling.SESSION: "a pooler in session mode",
            Pooling.TRANSACTION: "a pooler in transaction mode, which will do",
            Pooling.UNKNOWN: "a pooler; its mode shows only with a second connection",
        }
        return [ok(POOLER, told[route.pooling])]

    async def _host_clock(self) -> Sequence[Finding]:
        assert self._server is not None  # noqa: S101 - the connection's check was vital
        ahead, uncertainty = self._server.ahead, self._server.uncertainty
        return [host_clock(ahead, uncertainty, self._settings.grace)]

    async def _mapping(self) -> Sequence[Finding]:
        found = await check_table(self._engine, self._settings)
        self.table, self._named = found.table, found.named
        return found.findings

    @property
    def _scope(self) -> tuple[str, str] | None:
        """What passes are over, and in which namespace; None where there is no such table."""
        if self._named is None:
            return None
        return self._named.scope, self._named.scope_namespace(self._namespace)

    async def _index(self) -> Sequence[Finding]:
        if self.table is None:
            return [not_checked(judge.INDEX, _NO_TABLE)]
        plan = await plan_page(self._engine, self.table, self._settings.batch_size)
        names, dialect = self.table.mapping.names, self._engine.dialect
        marked = is_running(sa.column(names.status), self.table.mapping.statuses.running)
        table, key = quoted_name(dialect, names), dialect.identifier_preparer.quote(names.id)
        statement = f"CREATE INDEX ON {table} ({key}) WHERE {marked.compile(dialect=dialect)}"
        return [judge.index(plan, names.index, statement)]

    async def _shared_ids(self) -> Sequence[Finding]:
        """Only what is wrong."""
        table = self.table
        if table is None or await is_indexed(self._engine, table):
            return []
        if not await are_looked_for(self._engine, table, self._settings.grace):
            return []
        dialect, column = self._engine.dialect, table.workflow_id.name
        quoted = dialect.identifier_preparer.quote(column)
        name = quoted_name(dialect, table.mapping.names)
        return [judge.shared_ids(column, f"CREATE INDEX CONCURRENTLY ON {name} ({quoted})")]

    async def _statuses(self) -> Sequence[Finding]:
        """Only what is wrong: statuses that nobody knows are well where others have been found."""
        table = self.table
        if table is None or await PostgresStore(self._engine, table).last_running() is not None:
            return []
        noted = self._schema_level() in (Level.OK, Level.WARNING) and self._settings.journal
        if noted and await JournalReader(self._engine).has_found_rows(table.scope):
            return []
        known = self._settings.status_values().every
        found = await last_statuses(self._engine, table, STATUSES_AMONG)
        strange = [each for each in found if each not in known]
        return [judge.strange_statuses(self._settings.statuses.running, strange)] if strange else []

    async def _schema(self) -> Sequence[Finding]:
        await check_schema(self._engine, looping=False)
        try:
            await check_schema(self._engine, looping=True)
        except DatabaseUnfit as error:
            text = f"`once` may use it, `run`, `backfill` and `undo` may not: {error.problem}"
            return [warning(SCHEMA, text, error.fix or "run `reconciler migrate`")]
        return [ok(SCHEMA, f"{OWN_SCHEMA} is at revision {REVISION}, as this version needs it")]

    async def _lease(self) -> Sequence[Finding]:
        if self._schema_level() is not Level.OK:
            return [not_checked(rivals.LEASE, f"schema {OWN_SCHEMA} cannot be used")]
        if self._scope is None:
            return [not_checked(rivals.LEASE, _NO_TABLE)]
        return [rivals.lease(await held_leases(self._engine), *self._scope)]

    async def _passes(self) -> Sequence[Finding]:
        if self._schema_level() not in (Level.OK, Level.WARNING):
            return [not_checked(rivals.PASSES, f"schema {OWN_SCHEMA} cannot be used")]
        if self._scope is None:
            return [not_checked(rivals.PASSES, _NO_TABLE)]
        stored = [
            each async for page in JournalReader(self._engine).passes(PASSES) for each in page
        ]
        return [rivals.passes(stored, *self._scope, self.now())]

    def _schema_level(self) -> Level:
        """How our schema was found: what is wrong with it has been told."""
        return next(each.level for each in self.checks.findings if each.check == SCHEMA)
