"""What takes both sides: rows, and what Temporal says about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Observation, RunRow
from reconciler.core.progress import Span
from reconciler.core.window import AgeSpread
from reconciler.doctor.findings import Finding, not_checked, not_measurable
from reconciler.doctor.rules import connection as judge
from reconciler.doctor.rules.clocks import TEMPORAL, temporal_clock
from reconciler.doctor.rules.namespaces import NAMESPACES, Found, namespaces
from reconciler.postgres.diagnose.sample import (
    NamespaceRows,
    last_rows,
    oldest_rows,
    rows_by_namespace,
)
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.server import start_times
from reconciler.temporal.observe.namespaces import NamespacesProbe

#: Rows that Temporal is asked about, and namespaces; and rows that are read to find these.
SAMPLE, MOST, AMONG = 10, 20, 100_000


@dataclass(slots=True)
class BothSides:
    """Both of them, as they were found to be usable."""

    engine: AsyncEngine
    table: MappedTable
    rpc: Rpc
    #: That of the connection.
    namespace: Namespace
    grace: timedelta
    #: The database's time, and this host's.
    database_clock: Callable[[], datetime]
    host_clock: Callable[[], datetime]
    _found: Sequence[Found] | None = field(default=None, init=False)

    @property
    def names_namespaces(self) -> bool:
        """Whether rows say which namespace they are of."""
        return self.table.namespace is not None

    async def check_namespaces(self) -> Sequence[Finding]:
        """Whether those that rows name can be used, as a pass would find them."""
        own, probe = self.namespace, self._probe()
        self._found = [
            Found(each, own if each.name == own.name else await probe.describe(each.name))
            for each in await rows_by_namespace(self.engine, self.table, own.name, MOST, AMONG)
        ]
        return namespaces(self._found, own.name)

    async def check_oldest(self) -> Sequence[Finding]:
        """Whether the outcomes of running rows are about to be lost."""
        names = self.table.mapping.names
        if names.created_at is None:
            return [not_checked(judge.OLDEST, _NO_AGE)]
        if self.names_namespaces and self._found is None:
            return [not_checked(judge.OLDEST, f"see {NAMESPACES}")]
        store = PostgresStore(self.engine, self.table)
        until = await store.last_running()
        running = AgeSpread()
        if until is not None:
            running = await store.count_running(Span(None, until))
        now, retention = self.database_clock(), self.namespace.retention
        observations = await self._observe_oldest(running, now)
        told = None if self.names_namespaces else retention
        return [judge.oldest_row(running, now, told, observations)]

    async def check_clock(self) -> Sequence[Finding]:
        """Temporal's clock by the starts of workflows."""
        names = self.table.mapping.names
        if names.created_at is None or names.run_id is None:
            lacking = _NO_AGE if names.created_at is None else _NO_RUN
            return [not_measurable(TEMPORAL, lacking)]
        rows = await last_rows(self.engine, self.table, SAMPLE)
        asked = [row for row in rows if row.run_id and row.created_at]
        starts = await start_times(self.rpc, asked)
        after = [start - row.created_at for row, start in starts.items() if row.created_at]
        host_clock = self.host_clock
        future = max((start - host_clock() for start in starts.values()), default=timedelta(0))
        return [temporal_clock(after, future, self.grace)]

    async def _observe_oldest(
        self, running: AgeSpread, now: datetime
    ) -> Sequence[tuple[Observation, timedelta]]:
        """What Temporal says of the oldest rows, where they are near their namespace's retention.

        Each with that retention.
        """
        own = self.namespace
        every = NamespaceRows(own.name, running.rows, running.oldest)
        found = self._found or [Found(every, own)]
        near = [each.rows.name for each in found if each.is_near(now)]
        if not near:
            return []
        kept = {each.rows.name: each.retention for each in found if each.retention is not None}
        oldest = await oldest_rows(self.engine, self.table, SAMPLE, near, own.name)
        probe = self._probe()

        async def observe(row: RunRow, retention: timedelta) -> tuple[Observation, timedelta]:
            return await probe.observe(row), retention

        return await asyncio.gather(
            *(
                observe(row, retention)
                for row in oldest
                if (retention := kept.get(row.namespace or own.name)) is not None
                and row.created_at is not None
                and judge.is_near(now - row.created_at, retention)
            )
        )

    def _probe(self) -> NamespacesProbe:
        return NamespacesProbe(self.rpc, start_delay=self.grace)


_NO_AGE = "RECONCILER_COLUMNS__CREATED_AT is empty, so that rows have no age"
_NO_RUN = "RECONCILER_COLUMNS__RUN_ID is empty, so that rows do not tell which run is theirs"
