"""The checks that need both servers: rows, and what Temporal says about them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from reconciler.core.model import Closed, Missing, Observation, Open, RunRow
from reconciler.core.report.progress import Span
from reconciler.core.window import AgeSpread
from reconciler.doctor.findings import Finding, not_checked, not_measurable
from reconciler.doctor.rules.clocks import TEMPORAL_CLOCK, temporal_clock
from reconciler.doctor.rules.namespaces import (
    NAMESPACES,
    RowsOfNamespace,
    missing_rows,
    namespaces,
)
from reconciler.doctor.rules.table import OLDEST, is_near, oldest_row
from reconciler.doctor.rules.workers import workers
from reconciler.postgres.diagnose.sample import (
    NamespaceRows,
    first_rows,
    last_rows,
    oldest_rows,
    rows_by_namespace,
)
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.server import describe_rows, start_times
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.observe.workers import WorkflowWorker, workflow_workers

#: Rows that Temporal is asked about.
SAMPLE = 10
#: Namespaces that Temporal is asked about, and rows that are read to find them.
NAMESPACE_LIMIT, NAMESPACE_ROWS = 20, 100_000

_NO_AGE = "RECONCILER_COLUMNS__CREATED_AT is empty, so rows have no age"
_NO_RUN = "RECONCILER_COLUMNS__RUN_ID is empty, so it is not known which run a row is about"


@dataclass(slots=True)
class BothSides:
    """The table and the namespace, both of which have been found usable."""

    engine: AsyncEngine
    table: MappedTable
    rpc: Rpc
    #: That of the connection.
    namespace: Namespace
    grace: timedelta
    #: The database's time, and this host's.
    database_clock: Callable[[], datetime]
    host_clock: Callable[[], datetime]
    _found: Sequence[RowsOfNamespace] | None = field(default=None, init=False)
    _last: Mapping[RunRow, DescribeWorkflowExecutionResponse] | None = field(
        default=None, init=False
    )
    # One for all checks: it describes each namespace once.
    _probe: NamespacesProbe = field(init=False)

    def __post_init__(self) -> None:
        self._probe = NamespacesProbe(self.rpc)

    @property
    def has_namespaces(self) -> bool:
        """Whether each row names its namespace."""
        return self.table.namespace is not None

    @property
    def namespaces(self) -> Sequence[str]:
        """Those that `run` follows: the connection's, and the usable ones that rows name."""
        named = [each.rows.name for each in self._found or () if each.retention is not None]
        return list(dict.fromkeys([self.namespace.name, *named]))

    async def check_namespaces(self) -> Sequence[Finding]:
        """Whether a pass can use the namespaces that rows name."""
        own, probe = self.namespace, self._probe
        rows = await rows_by_namespace(
            self.engine, self.table, own.name, NAMESPACE_LIMIT, NAMESPACE_ROWS
        )
        self._found = [
            RowsOfNamespace(each, own if each.name == own.name else await probe.describe(each.name))
            for each in rows
        ]
        return namespaces(self._found, own.name)

    async def check_oldest(self) -> Sequence[Finding]:
        """Whether Temporal is about to forget the outcomes of running rows."""
        if self.table.mapping.names.created_at is None:
            return [not_checked(OLDEST, _NO_AGE)]
        if self.has_namespaces and self._found is None:
            return [not_checked(OLDEST, f"see {NAMESPACES}")]
        store = PostgresStore(self.engine, self.table)
        until = await store.last_running()
        running = AgeSpread() if until is None else await store.count_running(Span(None, until))
        now = self.database_clock()
        observations = await self._observe_oldest(running, now)
        retention = None if self.has_namespaces else self.namespace.retention
        return [oldest_row(running, now, retention, observations)]

    async def check_missing(self) -> Sequence[Finding]:
        """Whether Temporal lacks some workflows that it cannot have forgotten yet.

        Reports problems only. Of the rows of one namespace, the first and the last are asked about:
        as workflows are moved to another cluster, the first ones are still in the old one.
        """
        names = self.table.mapping.names
        if names.created_at is None or names.run_id is None or self.has_namespaces:
            return []
        now, keeps = self.database_clock(), self.namespace.retention
        since, until = now - keeps + self.table.shift, now - self.grace - self.table.shift
        first = await first_rows(self.engine, self.table, SAMPLE, since, until)
        last = await last_rows(self.engine, self.table, SAMPLE)
        made = [row for row in last if row.created_at and since <= row.created_at <= until]
        rows = {row.id: row for row in (*first, *made)}
        probe = self._probe
        found = await asyncio.gather(*(probe.observe(row) for row in rows.values()))
        missing = sum(isinstance(each, Missing) for each in found)
        known = sum(isinstance(each, (Open, Closed)) for each in found)
        return [missing_rows(missing, len(found))] if missing and known else []

    async def check_clock(self) -> Sequence[Finding]:
        """Compare Temporal's clock with the others, by the start times of workflows."""
        names = self.table.mapping.names
        if names.created_at is None or names.run_id is None:
            why = _NO_AGE if names.created_at is None else _NO_RUN
            return [not_measurable(TEMPORAL_CLOCK, why)]
        starts = start_times(await self._described())
        after = [start - row.created_at for row, start in starts.items() if row.created_at]
        future = max((start - self.host_clock() for start in starts.values()), default=timedelta(0))
        is_zoneless = names.created_at in {column.name for column in self.table.zoneless}
        zone = self.table.mapping.zone if is_zoneless else None
        return [temporal_clock(after, future, self.grace, zone)]

    async def check_workers(self) -> Sequence[Finding]:
        """Whether the workers that poll the queues of the last rows have the plugin.

        No finding where Temporal does not say, or knows of no worker there.
        """
        queues: defaultdict[str, set[str]] = defaultdict(set)
        for row, answer in (await self._described()).items():
            name = row.namespace or self.namespace.name
            queues[name].add(answer.execution_config.task_queue.name)
        found: list[WorkflowWorker] = []
        for name, its_queues in queues.items():
            found += await workflow_workers(self.rpc.in_namespace(name), its_queues)
        return workers(found)

    async def _described(self) -> Mapping[RunRow, DescribeWorkflowExecutionResponse]:
        """The runs of the last rows, as far as Temporal knows them; asked about once."""
        if self._last is None:
            rows = await last_rows(self.engine, self.table, SAMPLE)
            named = [row for row in rows if row.run_id and row.created_at]
            self._last = await describe_rows(self.rpc, named)
        return self._last

    async def _observe_oldest(
        self, running: AgeSpread, now: datetime
    ) -> Sequence[tuple[Observation, timedelta]]:
        """Ask Temporal about the oldest rows whose age is near their namespace's retention.

        Returns each answer with that retention.
        """
        own = self.namespace
        all_rows = NamespaceRows(own.name, running.rows, running.oldest)
        found = self._found or [RowsOfNamespace(all_rows, own)]
        near = [each.rows.name for each in found if each.is_near(now)]
        if not near:
            return []
        retentions = {each.rows.name: each.retention for each in found}
        oldest = await oldest_rows(self.engine, self.table, SAMPLE, near, own.name)
        asking = self._probe.together(oldest)

        async def observe(row: RunRow, retention: timedelta) -> tuple[Observation, timedelta]:
            return await asking.observe(row), retention

        answers = await asyncio.gather(
            *(
                observe(row, retention)
                for row in oldest
                if (retention := retentions.get(row.namespace or own.name)) is not None
                and row.created_at is not None
                and is_near(now - row.created_at, retention)
            )
        )
        # No pass writes an end that has no value.
        of = self.table.mapping.statuses.of
        return [
            (answer, retention)
            for answer, retention in answers
            if not isinstance(answer, Closed) or of(answer.status) is not None
        ]
