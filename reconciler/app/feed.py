"""The feed over real servers: what it lists, looks up and reconciles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.app.app import App
from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Mode, RunRow, Unknown
from reconciler.core.observer import Observer
from reconciler.core.policy import MissingPolicy
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.host.steady_clock import steady
from reconciler.passes.feed.feed import Feed
from reconciler.passes.feed.found import FoundRows, RecordedIfWritten
from reconciler.passes.feed.surroundings import NamespaceFacts
from reconciler.passes.lifecycle import read_clock
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.rows.lookup.newest import newest_namespaces
from reconciler.postgres.rows.lookup.running import RunningOf
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.temporal.observe.closings import VisibilityClosings
from reconciler.temporal.observe.namespaces import NamespacesProbe

#: Seconds for which the table's definition is not read again.
MAPPED_FOR = 60.0
#: Seconds within which a cause is logged once, and for five rows, however many passes meet it.
LOG_ROUND = 600.0


def open_feed(app: App, observers: Sequence[Observer]) -> Feed:
    """A feed that remembers nothing but the saved marks; `observers`: of its passes."""
    began, opened = app.clock.now(), steady()

    def clock() -> datetime:
        return began + timedelta(seconds=steady() - opened)

    return Feed(
        VisibilityClosings(app.feed_rpc),
        app.books.marks(app.table.scope),
        FeedRows(app, observers),
        clock,
        app.policy,
    )


class FeedRows:
    """Implements `Surroundings` for one application table."""

    def __init__(self, app: App, observers: Sequence[Observer]) -> None:
        self._app = app
        self._observers = [*observers, *filter(None, [app.decoder]), app.redactor]
        self._probe = NamespacesProbe(
            app.feed_rpc, decoder=app.decoder, redactor=app.redactor, short_passes=True
        )
        # What the feed does not find, or finds missing, is the sweep's.
        self._policy = replace(app.policy, missing=MissingPolicy.LEAVE)
        settings = app.settings
        self._options = PassOptions(settings.batch_size, settings.concurrency)
        self._log = PassLog(round_seconds=LOG_ROUND)
        # Mapped again before it is used: this feed may begin months after the process.
        self._last = _Mapped(app.table, RunningOf(app.engine, app.table), float("-inf"))

    def now(self) -> datetime:
        """The database's time."""
        return self._app.clock.now()

    async def describe(self, namespace: str) -> NamespaceFacts | None:
        """What Temporal says about the namespace."""
        await self._probe.retention()
        found = await self._probe.describe(namespace)
        if isinstance(found, Unknown):
            return None
        return NamespaceFacts(found.id or namespace, found.retention)

    async def newest_namespaces(self) -> Collection[str]:
        """The namespaces that the newest running rows name."""
        if self._app.table.mapping.names.namespace is None:
            return set()  # a quiet loop need not map the table for it
        return await newest_namespaces(self._app.engine, (await self._mapped()).table)

    async def look_up(self, workflow_ids: Sequence[str]) -> Sequence[RunRow]:
        """The running rows of these workflow ids."""
        mapped = await self._mapped()
        try:
            return await mapped.running_of.read(workflow_ids)
        except DatabaseUnusable:
            mapped.at = float("-inf")  # the table may have been altered
            raise

    async def reconcile(self, rows: Sequence[RunRow], observer: Observer) -> PassReport:
        """Run a pass over rows, recorded if it writes."""
        app, observers = self._app, [*self._observers, observer]
        report = PassReport.begin(PassRequest(Mode.FEED), app.clock.now())
        history = RecordedIfWritten(app.history)
        now = await read_clock(report, history, observers, app.clock.read)
        if now is None:
            return report
        mapped = await self._mapped()
        store = FoundRows(app.books.store(mapped.table, found_by=Mode.FEED), rows, history)
        ports = store, self._probe, history, observers
        await run_pass(*ports, self._policy, self._options, now, report, self._log)
        if report.error is not None or report.unknown:
            mapped.at = float("-inf")  # the table may have been altered, and refuse rows now
        return report

    async def _mapped(self) -> _Mapped:
        """The table as it is, or was a minute ago: columns change over months."""
        if steady() - self._last.at >= MAPPED_FOR:
            app, mapping = self._app, self._last.table.mapping
            table = await map_table(app.engine, mapping, writing=True)
            self._last = _Mapped(table, RunningOf(app.engine, table), steady())
        return self._last


@dataclass(slots=True)
class _Mapped:
    """The application's table when it was mapped."""

    table: MappedTable
    #: Kept between polls, as it finds out once how to look rows up.
    running_of: RunningOf
    at: float
