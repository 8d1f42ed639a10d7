"""A pass over one range: the existing one, whose progress goes into heartbeats.

```
heartbeat: {cursor, counts} after each page ──► killed ──► the next attempt goes on from there
```

The details of a heartbeat hold the cursor and the counts of the same moment. So each row that was
left is counted once; and the journal corrects what was written, at the end of the backfill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from reconciler.app.app import App
from reconciler.app.hold_lease import hold_lease
from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import Mode, RowId, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.ports import Lease, Probe
from reconciler.core.report.pass_report import PassReport, Report
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.core.window import Window
from reconciler.fleet.messages import Counts, Json, Previewed, Speed
from reconciler.fleet.messages import Span as Keys
from reconciler.fleet.tasks import RangeWork
from reconciler.fleet.totals import counts_of
from reconciler.passes.lifecycle import reported
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.journal.checkpoint import restore, sweep_from_json, to_json
from reconciler.postgres.table.keys import key_to_json
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.stuck.diagnosis import TemporalDiagnosis

log = structlog.get_logger(__name__)


async def run_range(
    app: App, work: RangeWork, resumed_from: Json | None, beat: Callable[[Json], None]
) -> PassReport:
    """Run the pass; `beat` gets what another attempt resumes it from.

    An unusable server, a request to stop and a lost lease are in the report.
    """
    given, speed = work.work, work.work.speed
    request = PassRequest(Mode.BACKFILL, given.dry_run)
    now = datetime.fromisoformat(given.started_at)
    report = PassReport(given.pass_id, request, now, resumed=True)
    set_progress(report, app.table.read_id, work, resumed_from)
    app = at_its_rate(app, speed)
    recording = RangeRecording(report, app.probe, sweep_from_json(work.swept), beat)
    policy = replace(app.policy, max_missing_ratio=1.0) if work.is_second else app.policy
    window = window_of(given.previewed)
    store = app.books.store(app.table, window, Mode.BACKFILL, shared=not given.dry_run)
    watch = map(_PagesOnly, app.watch(report))
    observers = [*watch, *filter(None, [app.decoder]), app.redactor, recording]
    options, pass_log = _options(app, speed, second=work.is_second), PassLog(each_row=False)
    with reported(report):
        async with _holding(app, report):
            ports = store, app.probe, recording, observers
            await run_pass(*ports, policy, options, now, report, pass_log)
    return report


def at_its_rate(app: App, speed: Speed) -> App:
    """The same with the limits and counts of a range: of the fleet's rate, one share of W."""
    rpc = app.rpc.limited(speed.max_rps / speed.workers, speed.visibility_rps / speed.workers)
    probe = NamespacesProbe(rpc, ask_archive=True, decoder=app.decoder, redactor=app.redactor)
    diagnosis = TemporalDiagnosis(rpc, app.redactor, app.decoder)
    return replace(app, rpc=rpc, probe=probe, diagnosis=diagnosis)


def fleet_lease(app: App, pass_id: str) -> Lease:
    """The lease that keeps a plain backfill or an undo from the table: one for all ranges."""
    holder = f"fleet/{pass_id}"
    return app.books.lease(app.table.scope, app.scope_namespace, holder, Mode.BACKFILL)


class _NotReleased:
    """A lease that other ranges may hold, too: only the end of the backfill releases it."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def claim(self, duration: timedelta) -> int | None:
        return await self._lease.claim(duration)

    async def release(self) -> None:
        pass


def _holding(app: App, report: PassReport) -> AbstractAsyncContextManager[None]:
    if report.request.dry_run:
        return nullcontext()
    lease = _NotReleased(fleet_lease(app, report.pass_id))
    return hold_lease(lease, "a backfill or an undo", report)


class _PagesOnly(Observer):
    """An observer to which a range is no pass of its own."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def on_start(self, report: PassView) -> None:
        await self._observer.on_start(report)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        await self._observer.on_page(report, verdicts)


def set_progress(
    report: PassReport,
    read_id: Callable[[Any], RowId],
    work: RangeWork,
    resumed_from: Json | None,
) -> None:
    """Where to begin: where the attempt before came to, if it is known."""
    spans = [
        Span(None if each.after is None else read_id(each.after), read_id(each.until))
        for each in work.spans
    ]
    if work.is_second:
        report.progress = Progress(to_recheck=spans, rechecking=True)
    else:
        report.progress = Progress(spans[0])
    if resumed_from is None:
        return
    try:
        restore(report, resumed_from["cursor"], read_id)
    except (DatabaseUnfit, KeyError) as error:
        # By another version: what it wrote is in the journal, and the rest is counted again.
        log.warning("range_restarted", pass_id=report.pass_id, why=str(error))
        return
    report.rpcs = Counter(resumed_from["rpcs"])
    report.found_in = set(resumed_from["found_in"])
    report.missing_in = set(resumed_from["missing_in"])
    report.disagreements = resumed_from["disagreements"]


def counts_of_range(report: PassReport, work: RangeWork) -> Counts:
    """What a range has counted, for the workflow to add up."""
    if work.is_second:
        report = replace(report, done=report.tally, progress=None)
    spans = report.progress.to_recheck if report.progress else ()
    keys = [Keys(key_to_json(span.after), key_to_json(span.until)) for span in spans]
    return counts_of(report, keys)


def window_of(previewed: Previewed) -> Window:
    """The window, as it was when the backfill began."""
    since, until = (
        bound and datetime.fromisoformat(bound) for bound in (previewed.since, previewed.until)
    )
    return Window(since or None, until or None, previewed.workflow_type)


def _options(app: App, speed: Speed, *, second: bool) -> PassOptions:
    return PassOptions(
        batch_size=speed.batch_size,
        concurrency=speed.concurrency,
        full_sweep_interval=app.settings.full_sweep_interval,
        pauses=True,
        second_look=second,
    )


class RangeRecording(Observer):
    """The `Recording` of a range. What the history has is about the backfill as a whole."""

    def __init__(
        self, report: PassReport, probe: Probe, swept: Swept | None, beat: Callable[[Json], None]
    ) -> None:
        self._report, self._probe, self._swept, self._beat = report, probe, swept, beat
        self._rpcs_before = Counter(report.rpcs)

    async def begin(self, report: Report) -> Swept | None:  # noqa: ARG002
        """Nothing is recorded; returns the sweep as it was when the backfill began."""
        return self._swept

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        """The workflow decides about that."""
        return namespaces

    async def checkpoint(self, report: PassReport) -> None:
        """See `on_page`, which comes in dry runs, too."""

    async def written(self, pass_id: str) -> None:
        """None: the journal corrects the sum of all ranges."""

    async def end(self, report: Report) -> None:
        """Nothing is recorded."""

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Send a heartbeat with the progress."""
        self._beat(self.details())

    def details(self) -> Json:
        """What another attempt resumes the range from."""
        report = self._report
        assert report.progress is not None  # noqa: S101 - set before the pass
        return {
            "cursor": to_json(report.progress, report.done),
            "rpcs": dict(self._rpcs_before + Counter(self._probe.rpcs())),
            "found_in": sorted(report.found_in),
            "missing_in": sorted(report.missing_in),
            "disagreements": report.disagreements,
        }
