"""What passes need, connected and checked: `wiring` builds it from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.app.before_pass import review_table
from reconciler.app.lease import this_process
from reconciler.core.model import Mode, OldValues, RowId
from reconciler.core.observer import Observer
from reconciler.core.policy import Policy
from reconciler.core.ports import History, Lease, Store
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span
from reconciler.core.report.request import SCAN, SWEEP, PassOptions, PassRequest
from reconciler.core.stuck.ports import Diagnosing
from reconciler.core.window import EVERY, Window
from reconciler.passes.lifecycle import absorb_first_cancel, read_clock
from reconciler.passes.log import PassLog
from reconciler.passes.observers import Bystander
from reconciler.passes.reconcile import run_pass
from reconciler.passes.stuck import StuckCounts, Watch
from reconciler.postgres.connection.clock import DatabaseClock
from reconciler.postgres.connection.engine import forget_connections
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from reconciler.postgres.rows.lookup.stored import old_values
from reconciler.postgres.rows.remapped import RemappedStore
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.settings.model import Settings
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import (
    FailureDecoder,
)
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.observe.namespaces import NamespacesProbe

#: Of the calls per second that are allowed now, the share that all sweeps under the limit may use.
SWEEP_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Open, checked connections to both servers, and everything else that passes need."""

    settings: Settings
    #: As of the start.
    namespace: Namespace
    policy: Policy
    rpc: Rpc
    #: For the feed, whose passes run beside the others.
    feed_rpc: Rpc
    history: History
    table: MappedTable
    clock: DatabaseClock
    books: Bookkeeping
    pruning: Sequence[Observer]
    engine: AsyncEngine
    probe: NamespacesProbe
    #: Why the workflows of rows that `probe` described are open.
    diagnosis: Diagnosing
    redactor: Redactor
    decoder: FailureDecoder | None
    pass_log: PassLog = field(default_factory=PassLog)
    stuck_counts: StuckCounts = field(default_factory=StuckCounts)

    async def run_pass(
        self,
        mode: str,
        *,
        dry_run: bool,
        observers: Sequence[Observer] = (),
        report: PassReport | None = None,
        remap: bool = False,
        each_row: bool = True,
        stretch_only: bool = False,
    ) -> PassReport:
        """Run a pass over the running rows; fill in `report`, or a new one.

        `each_row`: log every finished row, even if it is journalled.
        `remap`: read the table's definition again, which may have changed since the app was opened.
        `stretch_only`: read only the rows that are due in the sweep.
        """
        stretch_only = stretch_only and bool(self.settings.full_sweep_interval)
        found_by = (SWEEP if stretch_only else SCAN) if mode == Mode.RUN else mode
        request = PassRequest(mode, dry_run, found_by=found_by)
        report = report or PassReport.begin(request, self.clock.now())
        make = partial(self.books.store, found_by=report.request.found_by)
        remapped = RemappedStore(self.engine, self.table.mapping, make)
        store, options = remapped if remap else make(self.table), self.settings.pass_options()
        if stretch_only:
            rps = self.rpc.rate * SWEEP_SHARE / self.rpc.sharers
            options = replace(options, stretch_only=True, sweep_rps=rps)
        watch = self._watch(report, remapped.table if remap else self._mapped)
        # First, so that a replica has counted the stuck rows once its metrics are complete.
        observers = [*watch, *observers]
        return await self._run(store, options, observers, report, each_row=each_row)

    async def count_running(self) -> int:
        """The number of rows that a pass would scan."""
        store = self.store()
        until = await store.last_running()
        return 0 if until is None else (await store.count_running(Span(None, until))).rows

    async def run_backfill(
        self,
        window: Window,
        options: PassOptions,
        report: PassReport,
        observers: Sequence[Observer] = (),
    ) -> PassReport:
        """Run a pass over a window of the running rows; resumes `report` if it has begun."""
        store = self.books.store(self.table, window, report.request.found_by)
        observers = [*self.watch(report), *observers]
        return await self._run(store, options, observers, report, each_row=False)

    async def _run(
        self,
        store: Store,
        options: PassOptions,
        others: Sequence[Observer],
        report: PassReport,
        *,
        each_row: bool,
    ) -> PassReport:
        now = await read_clock(report, self.history, others, self.clock.read)
        if now is None:
            return report
        pass_log = self.pass_log if each_row else PassLog(each_row=not self.journals)
        with absorb_first_cancel(report):
            if not pass_log.has_reviewed:
                report.warnings = await review_table(self.engine, self.table, self.settings)
                pass_log.reviewed(report)
        observers = [*others, *self.pruning, *filter(None, [self.decoder]), self.redactor]
        ports = store, self.probe, self.history, observers
        return await run_pass(*ports, self.policy, options, now, report, pass_log)

    async def _mapped(self) -> MappedTable:
        return self.table

    def watch(self, report: PassReport) -> Sequence[Observer]:
        """What records stuck rows, unless it is a dry run."""
        return self._watch(report, self._mapped)

    def _watch(
        self, report: PassReport, table: Callable[[], Awaitable[MappedTable]]
    ) -> Sequence[Observer]:
        """What records stuck rows, in passes that are recorded."""
        rows = self.books.stuck_rows(table, self.scope_namespace)
        if rows is None or report.request.dry_run:
            return []
        parts = self.diagnosis, self.stuck_counts, self.clock.now, self.probe.retention_of
        return [Bystander(Watch(rows, *parts))]

    def store(self, window: Window = EVERY) -> PostgresStore:
        """The running rows of the table, or those in a window."""
        return self.books.store(self.table, window)

    def lease(self, of: str = "") -> Lease:
        """The lease of this kind of pass on the table and namespace, for this process to claim."""
        return self.books.lease(self.table.scope, self.scope_namespace, this_process(), of)

    @property
    def scope_namespace(self) -> str:
        """The namespace that a pass covers; `*` if each row has its own."""
        return self.table.scope_namespace(self.namespace.name)

    @property
    def listed_scope(self) -> str | None:
        """Whose passes and changes are listed: those of a target; None: all in the database."""
        return self.table.scope if self.settings.target else None

    @property
    def journals(self) -> bool:
        """Whether changes are journalled."""
        return self.books.journals

    async def old_values(self, ids: Sequence[RowId]) -> Mapping[RowId, OldValues]:
        """The current values of these rows, with redacted messages."""
        found = await old_values(self.engine, self.table, ids)
        return {
            id_: replace(old, error_message=await self.redacted(old.error_message))
            for id_, old in found.items()
        }

    async def redacted(self, message: str | None) -> str | None:
        """The error message of a row, redacted."""
        return message and await self.redactor.hide(message)

    @property
    def retention(self) -> timedelta:
        """The namespace's retention when it was last read."""
        return (self.probe.namespace or self.namespace).retention

    async def check_temporal(self) -> Namespace:
        """Describe the namespace, past the rate limit. Raises `TemporalUnusable`."""
        return await self.rpc.prioritized().describe_namespace()

    @property
    def undecoded(self) -> int | None:
        """Failures that could not be decoded so far; None without a codec."""
        return self.decoder.undecoded if self.decoder else None

    async def forget_connections(self) -> None:
        """Drop pooled connections, which may be dead or lead to a replica."""
        await forget_connections(self.engine)
