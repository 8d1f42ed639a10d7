"""The feed over real servers: what it lists, looks up and reconciles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.app.wiring import App
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
from reconciler.postgres.rows.newest import newest_namespaces
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.temporal.observe.closings import VisibilityClosings
from reconciler.temporal.observe.namespaces import NamespacesProbe

#: Seconds for which the table's definition is not read again.
MAPPED_FOR = 60.0


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
        self._log = PassLog()
        self._table, self._mapped_at = app.table, steady()

    async def describe(self, namespace: str) -> NamespaceFacts | None:
        """What Temporal says about the namespace."""
        await self._probe.retention()
        found = await self._probe.describe(namespace)
        if isinstance(found, Unknown):
            return None
        return NamespaceFacts(found.id or namespace, found.retention)

    async def newest_namespaces(self) -> Collection[str]:
        """The namespaces that the newest running rows name."""
        return await newest_namespaces(self._app.engine, self._table)

    async def look_up(self, workflow_ids: Sequence[str]) -> Sequence[RunRow]:
        """The running rows of these workflow ids."""
        return await (await self._store()).running_of(workflow_ids)

    async def reconcile(self, rows: Sequence[RunRow], observer: Observer) -> PassReport:
        """Run a pass over rows, recorded if it writes."""
        app, observers = self._app, [*self._observers, observer]
        report = PassReport.begin(PassRequest(Mode.FEED), app.clock.now())
        history = RecordedIfWritten(app.history)
        now = await read_clock(report, history, observers, app.clock.read)
        if now is None:
            return report
        store = FoundRows(await self._store(), rows, history)
        ports = store, self._probe, history, observers
        return await run_pass(*ports, self._policy, self._options, now, report, self._log)

    async def _store(self) -> PostgresStore:
        """For one pass. The table is mapped again now and then: columns change over months."""
        if steady() - self._mapped_at >= MAPPED_FOR:
            self._table = await map_table(self._app.engine, self._table.mapping, writing=True)
            self._mapped_at = steady()
        return self._app.books.store(self._table, found_by=Mode.FEED)
