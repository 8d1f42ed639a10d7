"""The checks that need the database only: those of every start, and what causes trouble later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.core.model import Mode
from reconciler.core.policy import MissingPolicy
from reconciler.doctor.checks.table import PRIVILEGES, check_table
from reconciler.doctor.checks.writes import check_constraints, check_triggers, check_write
from reconciler.doctor.findings import Finding, Level, not_checked, not_measurable, ok, warning
from reconciler.doctor.rules import other_passes
from reconciler.doctor.rules import table as rules
from reconciler.doctor.rules.clocks import HOST_CLOCK, host_clock
from reconciler.doctor.rules.connection import connected
from reconciler.doctor.rules.writes import LAST_CHANGE, TRIGGERS, WRITE, last_change
from reconciler.doctor.runner import Ask, Checks
from reconciler.postgres.connection.engine import CONNECT_TIMEOUT, STATEMENT_TIMEDOUT, sqlstate
from reconciler.postgres.diagnose.last_change import find_unset
from reconciler.postgres.diagnose.pooler import Pooling, find_route
from reconciler.postgres.diagnose.read_plan import plan_lookup, plan_page
from reconciler.postgres.diagnose.review import review_values
from reconciler.postgres.diagnose.server import Server, look_at_server
from reconciler.postgres.journal.lease import held_leases
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_schema
from reconciler.postgres.rows.rivals import are_looked_for, is_indexed
from reconciler.postgres.schema import OWN_SCHEMA, REVISION
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import is_running
from reconciler.postgres.table.relation import quoted_name
from reconciler.settings.model import Settings

DATABASE, POOLER, SCHEMA = "database", "pooler", "schema"
_NO_TABLE, _NO_SCHEMA = "the table cannot be used", f"schema {OWN_SCHEMA} cannot be used"
#: Passes that are read. Not the feed's: there may be one per second, and always others beside them.
PASSES, _MODES = 100, set(Mode) - {Mode.FEED}
#: Seconds that a second connection through a pooler may take.
POOLER_PATIENCE = 3.0

_POOLING = {
    Pooling.NONE: "none: a direct connection",
    Pooling.SESSION: "a pooler in session mode",
    Pooling.TRANSACTION: "a pooler in transaction mode, which is supported",
    Pooling.UNKNOWN: "a pooler; finding out its mode takes a second connection, and there is none",
}


class DatabaseChecks:
    """All checks that need no Temporal. Only a write that is tried is not read-only."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        namespace: str,
        clock: Callable[[], datetime],
        *,
        trying: bool = False,
    ) -> None:
        """`clock` is this host's. `trying`: whether a write is tried, and rolled back."""
        slower = max(0, settings.connect_timeout - CONNECT_TIMEOUT)
        self.checks = Checks("the database", "check DATABASE_URL", slower)
        #: The table, if it can be read.
        self.table: MappedTable | None = None
        #: The table, if it exists.
        self._named: MappedTable | None = None
        self._server: Server | None = None
        #: For further questions; read-only.
        self.engine = engine.execution_options(postgresql_readonly=True)
        self._writing = engine if trying else None
        self._settings = settings
        self._namespace = namespace
        self._clock = clock

    def now(self) -> datetime:
        """The time by the database's clock, as in the timestamps of rows and passes."""
        return self._clock() if self._server is None else self._clock() - self._server.ahead

    async def run(self) -> None:
        """Run all of them, one after another."""
        check = self.checks.check
        await check(DATABASE, self._connection, vital=True)
        await check(POOLER, self._pooler)
        await check(HOST_CLOCK, self._host_clock)
        await check(rules.TABLE, self._mapping, covers=[PRIVILEGES])
        await check(rules.STATUSES, self._statuses)
        await self._check_more(TRIGGERS, self._triggers)
        await self._check_more(LAST_CHANGE, self._last_change)
        await check(rules.INDEX, self._index)
        await self._check_more(rules.INDEX, self._shared_ids)
        await self._check_more(rules.INDEX, self._keys)
        if self._settings.journal:
            await check(SCHEMA, self._schema)
            await check(other_passes.LEASE, self._lease)
            await check(other_passes.PASSES, self._passes)
        else:
            self.checks.findings += [
                ok(name, "RECONCILER_JOURNAL is off: there is none")
                for name in (SCHEMA, other_passes.LEASE, other_passes.PASSES)
            ]
        await self._check_more(WRITE, self._constraints)
        if self._writing is not None:
            await check(WRITE, self._write)

    async def _check_more(self, name: str, ask: Ask) -> None:
        """The second part of a check: it reports problems only, so no skipped finding either."""
        if self.checks.unreachable is None:
            await self.checks.check(name, ask)

    async def _connection(self) -> Sequence[Finding]:
        server = self._server = await look_at_server(self.engine, self._clock)
        text = f"PostgreSQL {server.version}, database {server.database} as {server.role}"
        return [connected(DATABASE, text, server.round_trip)]

    async def _pooler(self) -> Sequence[Finding]:
        route = await find_route(self.engine, POOLER_PATIENCE)
        return [ok(POOLER, _POOLING[route.pooling])]

    async def _host_clock(self) -> Sequence[Finding]:
        assert self._server is not None  # noqa: S101 - the connection's check was vital
        ahead, uncertainty = self._server.ahead, self._server.uncertainty
        return [host_clock(ahead, uncertainty, self._settings.grace)]

    async def _mapping(self) -> Sequence[Finding]:
        found = await check_table(self.engine, self._settings)
        self.table, self._named = found.table, found.named
        return found.findings

    @property
    def _scope(self) -> tuple[str, str] | None:
        """The scope and the namespace that passes are recorded with; None if there is no table."""
        if self._named is None:
            return None
        return self._named.scope, self._named.scope_namespace(self._namespace)

    @property
    def _fails(self) -> bool:
        return self._settings.missing is MissingPolicy.FAIL

    async def _triggers(self) -> Sequence[Finding]:
        return [] if self.table is None else await check_triggers(self.engine, self.table)

    async def _constraints(self) -> Sequence[Finding]:
        if self.table is None:
            return []
        return await check_constraints(self.engine, self.table, self._settings)

    async def _last_change(self) -> Sequence[Finding]:
        column = None if self.table is None else await find_unset(self.engine, self.table)
        return [] if column is None else [last_change(column)]

    async def _write(self) -> Sequence[Finding]:
        needed = (rules.TABLE, PRIVILEGES, *([SCHEMA] if self._settings.journal else []))
        bad = next((e.check for e in self.checks.findings if e.check in needed and e.is_bad), None)
        if bad is not None or self.table is None or self._writing is None:
            return [not_checked(WRITE, f"see {bad}")]
        return await check_write(self._writing, self.table, self._settings, self.now())

    async def _index(self) -> Sequence[Finding]:
        if self.table is None:
            return [not_checked(rules.INDEX, _NO_TABLE)]
        plan = await plan_page(self.engine, self.table, self._settings.batch_size)
        names, dialect = self.table.mapping.names, self.engine.dialect
        marked = is_running(sa.column(names.status), self.table.mapping.statuses.running)
        table, key = quoted_name(dialect, names), dialect.identifier_preparer.quote(names.id)
        statement = f"CREATE INDEX ON {table} ({key}) WHERE {marked.compile(dialect=dialect)}"
        found = [rules.index(plan, statement)]
        if self._settings.feed_interval:
            found += rules.lookup(await plan_lookup(self.engine, self.table))
        return found

    async def _shared_ids(self) -> Sequence[Finding]:
        """Whether a pass would search the table for other rows of a workflow id."""
        table = self.table
        if table is None or await is_indexed(self.engine, table):
            return []
        if not await are_looked_for(self.engine, table, self._settings.grace):
            return []
        columns = table.workflow_ids.indexable
        return [rules.shared_ids(" or ".join(columns), self._new_index(table, columns))]

    async def _keys(self) -> Sequence[Finding]:
        """Whether undo and plans would search the table for rows."""
        table = self.table
        if table is None or table.relation.finds_keys:
            return []
        return [rules.keys(table.id.name, self._new_index(table, [table.id.name]))]

    def _new_index(self, table: MappedTable, columns: Sequence[str]) -> str:
        """The statement that builds an index on rows of any status."""
        dialect = self.engine.dialect
        quoted = ", ".join(map(dialect.identifier_preparer.quote, columns))
        # PostgreSQL builds none concurrently on a partitioned table.
        way = "" if table.relation.kind == "partitioned table" else "CONCURRENTLY "
        return f"CREATE INDEX {way}ON {quoted_name(dialect, table.mapping.names)} ({quoted})"

    async def _statuses(self) -> Sequence[Finding]:
        if self.table is None:
            return [not_checked(rules.STATUSES, _NO_TABLE)]
        try:
            statuses, chosen = self._settings.status_values(), self._settings.names_table
            found = await review_values(self.engine, self.table, statuses, chosen=chosen)
        except DatabaseUnusable as error:
            if sqlstate(error.__cause__) == STATEMENT_TIMEDOUT:
                return [not_measurable(rules.STATUSES, "the database is too slow")]
            if isinstance(error, DatabaseUnfit):  # such as a column that the role may not read
                return [not_measurable(rules.STATUSES, error.problem)]
            raise
        return rules.statuses(*found)

    async def _schema(self) -> Sequence[Finding]:
        await check_schema(self.engine, looping=False)
        try:
            await check_schema(self.engine, looping=True)
        except DatabaseUnfit as error:
            text = f"`once` may use it, `run`, `backfill` and `undo` may not: {error.problem}"
            return [warning(SCHEMA, text, error.fix or "run `reconciler migrate`")]
        return [ok(SCHEMA, f"{OWN_SCHEMA} is at revision {REVISION}, as this version needs it")]

    async def _lease(self) -> Sequence[Finding]:
        if self._schema_level() is not Level.OK:
            return [not_checked(other_passes.LEASE, _NO_SCHEMA)]
        if self._scope is None:
            return [not_checked(other_passes.LEASE, _NO_TABLE)]
        held = await held_leases(self.engine)
        return [other_passes.lease(held, *self._scope, fails=self._fails)]

    async def _passes(self) -> Sequence[Finding]:
        if self._schema_level() not in (Level.OK, Level.WARNING):
            return [not_checked(other_passes.PASSES, _NO_SCHEMA)]
        if self._scope is None:
            return [not_checked(other_passes.PASSES, _NO_TABLE)]
        reader = JournalReader(self.engine, scope=self._scope[0])
        stored = [each async for page in reader.passes(PASSES, modes=_MODES) for each in page]
        return [other_passes.passes(stored, *self._scope, self.now(), fails=self._fails)]

    def _schema_level(self) -> Level:
        """What the check of our schema has found."""
        return next(each.level for each in self.checks.findings if each.check == SCHEMA)
