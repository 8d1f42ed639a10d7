"""The activities of a distributed backfill: each is short, but for the ranges.

An error of this worker, or of a server, fails an attempt and not the activity: it is tried again,
until somebody has put it right, perhaps on another worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from temporalio import activity

from reconciler.app.app import App
from reconciler.app.before_pass import review_table
from reconciler.app.hold_lease import PATIENCE
from reconciler.app.lease import CLAIM_AGAIN, LEASE_TIME
from reconciler.core.errors import Unusable
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span as Rows
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.fleet.apps import Apps, Refused
from reconciler.fleet.cutting import cut
from reconciler.fleet.messages import Counts, Json, Result, Span, State
from reconciler.fleet.range_pass import counts_of_range, fleet_lease, run_range, window_of
from reconciler.fleet.steps import Steps, beat, is_cancelled_by_request
from reconciler.fleet.tasks import (
    BEGIN,
    CUT,
    END,
    JUDGE,
    RANGE,
    Begin,
    Cut,
    Ending,
    Judged,
    Judging,
    Pieces,
    RangeWork,
    Work,
)
from reconciler.fleet.totals import (
    Totals,
    conclude,
    counts_of,
    no_counts,
    warnings_from_json,
    warnings_to_json,
)
from reconciler.passes.breaker import Breaker
from reconciler.passes.observers import notify
from reconciler.postgres.journal.checkpoint import sweep_to_json
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.table.keys import key_to_json

log = structlog.get_logger(__name__)


class Activities:
    """What a worker does, for any of its targets."""

    def __init__(self, apps: Apps) -> None:
        self._apps, self._steps = apps, Steps()

    async def begin(self, given: Begin) -> State:
        """Record the pass, and find out what there is to do."""
        work = given.work
        speed = work.speed
        if 0 < speed.max_rps < speed.workers:
            raise Refused(
                f"{speed.workers} ranges at a time need at least {speed.workers} calls per second: "
                "raise RECONCILER_MAX_RPS, or distribute to fewer",
                lasts=True,
            )
        async with self._apps.using(work, begins=True) as app:
            swept = None
            now = await app.clock.read()
            if not work.dry_run:
                await _claim(app, work.pass_id)
                report = PassReport.begin(PassRequest(Mode.BACKFILL, asked=given.asked), now)
                report.pass_id = work.pass_id
                report, swept = await _record(app, report)
                now = report.started_at
            warnings = await review_table(app.engine, app.table, app.settings)
            store = app.store(window_of(work.previewed))
            last = await store.last_running()
            rows = 0 if last is None else (await store.count_running(Rows(None, last))).rows
        return State(
            started_at=now.isoformat(),
            rows=rows,
            rest=() if last is None else (Span(None, key_to_json(last)),),
            totals=no_counts(),
            swept=sweep_to_json(swept),
            warnings=warnings_to_json(warnings),
        )

    async def cut(self, given: Cut) -> Pieces:
        """Cut off ranges of about as many running rows, whether or not they are in the window.

        The index alone is read, and the boundaries do not depend on the type of the key.
        """
        async with self._apps.using(given.work) as app:
            return await cut(app, given)

    async def run_range(self, given: RangeWork) -> Counts:
        """Run a pass over a range; resumes the attempt before."""
        details = activity.info().heartbeat_details
        async with self._apps.using(given.work) as app:
            report = await run_range(app, given, details[0] if details else None, beat)
            if report.error is not None and not is_cancelled_by_request():
                why = "this worker is stopping" if report.stopped else report.error
                raise Unusable(why)
        log.info(
            "range_finished",
            **_about(given.work),
            scanned=report.tally.scanned,
            changed=report.changed,
            seconds=round(report.duration_seconds, 3),
        )
        return counts_of_range(report, given)

    async def judge(self, given: Judging) -> Judged:
        """Decide about missing rows, as a pass over all rows would."""
        async with self._apps.using(given.work) as app:
            report = _report(given.work, given.totals)
            await _correct(app, report)
            tripped = await Breaker(
                app.probe, app.history, app.policy, report, app.pass_log
            ).trips()
        return Judged(counts_of(report, (), given.totals.ranges), tripped)

    async def end(self, given: Ending) -> Result:
        """Record the end, and release the lease."""
        work = given.work
        async with self._apps.using(work, begins=True) as app:
            report = _report(work, given.totals)
            report.warnings = warnings_from_json(given.warnings)
            if report.progress:
                report.progress.rechecking = given.is_second
            await _correct(app, report)
            conclude(report, given, app.policy.statuses.failed)
            report.duration_seconds = (await app.clock.read() - report.started_at).total_seconds()
            if not work.dry_run:
                await app.history.end(report)
                with suppress(Unusable):  # then it expires
                    await fleet_lease(app, work.pass_id).release()
            observers = [*app.watch(report), *app.pruning]
            await notify(observers, lambda each: each.on_pass(report))
        log.info("backfill_finished", **_about(work), outcome=report.outcome.value)
        return Result(
            report=report.as_json(app.policy.statuses),
            error=report.error,
            totals=counts_of(report, (), given.totals.ranges),
            held_back=report.held_back,
            warnings=given.warnings,
            stopped=given.stopped,
        )

    def short(self) -> Sequence[Callable[..., Any]]:
        """All but the ranges: the first queue's."""
        return [
            self._steps.make(BEGIN, Begin, self.begin),
            self._steps.make(CUT, Cut, self.cut),
            self._steps.make(JUDGE, Judging, self.judge),
            self._steps.make(END, Ending, self.end),
        ]

    def ranges(self) -> Sequence[Callable[..., Any]]:
        """The ranges: the second queue's."""
        return [self._steps.make(RANGE, RangeWork, self.run_range)]


def _about(work: Work) -> Json:
    target = {"target": work.previewed.target} if work.previewed.target else {}
    return {**target, "pass_id": work.pass_id}


def _report(work: Work, totals: Counts) -> PassReport:
    request = PassRequest(Mode.BACKFILL, work.dry_run)
    began = datetime.fromisoformat(work.started_at) if work.started_at else datetime.now(UTC)
    return Totals(totals).as_report(work.pass_id, request, began)


async def _claim(app: App, pass_id: str) -> None:
    """Claim the lease for all ranges; waits in case the present holder is dead."""
    lease, loop = fleet_lease(app, pass_id), asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while await lease.claim(LEASE_TIME) is None:
        if loop.time() > deadline:
            raise Refused(
                "a backfill or an undo is already running elsewhere on this table and namespace: "
                "wait for its end, or stop it",
                lasts=True,
            )
        await asyncio.sleep(CLAIM_AGAIN)


async def _record(app: App, report: PassReport) -> tuple[PassReport, Swept | None]:
    """Insert the pass, unless an attempt before has; returns it as recorded, and the sweep."""
    recorded = await JournalReader(app.engine).find(str(UUID(report.pass_id)), 1)
    if recorded:
        report.resumed, report.started_at = True, recorded[0].started_at
    return report, await app.history.begin(report)


async def _correct(app: App, report: PassReport) -> None:
    """Count what the journal says: a worker that was killed may have written more than it said."""
    if report.request.dry_run:
        return
    written = await app.history.written(report.pass_id)
    if written is not None:
        report.correct(written)
