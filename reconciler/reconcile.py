"""One pass: scan the rows still marked running, ask Temporal, decide, write back.

The whole story of the product. `app` calls `run_pass` for every mode; they differ in arguments
only. It knows neither SQL nor gRPC, and its one rule about errors is this: what concerns one row
is an observation and is counted, what concerns everything is `Unusable` and ends the pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import structlog

from reconciler.core.model import Finish, Leave, LeaveReason, Observation, RunRow, Unknown, Verdict
from reconciler.core.report import PassReport
from reconciler.core.verdict import Policy, breaker_trips, decide
from reconciler.errors import Unusable
from reconciler.ports import Observer, Probe, Store, Written

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PassOptions:
    """What distinguishes one kind of pass from another."""

    mode: str = "once"
    dry_run: bool = False
    #: Rows per page read and per statement written.
    batch_size: int = 500
    #: Rows asked about at the same time.
    concurrency: int = 16


async def run_pass(
    store: Store,
    probe: Probe,
    observer: Observer,
    policy: Policy,
    options: PassOptions,
    now: datetime,
) -> PassReport:
    """Judge every row that is running at the start; finish those whose workflow has ended.

    `now` is the one clock reading of the pass. Always returns a report: if Temporal or the
    database becomes unusable on the way, its outcome is `aborted` and what was written before
    stays written. It can be cancelled, or killed, at any point.
    """
    report = PassReport(
        pass_id=str(uuid4()), mode=options.mode, dry_run=options.dry_run, started_at=now
    )
    started, rpcs_before = time.monotonic(), Counter(probe.rpcs())
    try:
        await observer.on_start(report)
        await _Pass(store, probe, policy, options, now, report).run()
    except Unusable as error:
        report.error = str(error)
    report.duration_seconds = time.monotonic() - started
    report.rpcs = Counter(probe.rpcs()) - rpcs_before
    await observer.on_pass(report)
    return report


@dataclass(frozen=True, slots=True)
class _Pass:
    store: Store
    probe: Probe
    policy: Policy
    options: PassOptions
    now: datetime
    report: PassReport

    async def run(self) -> None:
        """Every page once; then, if the breaker lets them, the rows Temporal does not know."""
        missing = await self._run_pages()
        if self._breaker_trips(len(missing)):
            self.report.hold_back(missing)
        else:
            await self._settle_missing([finish.outcome.row for finish in missing])

    async def _run_pages(self) -> list[Finish]:
        """Judge and settle each page; returns the missing rows that the policy would fail.

        While Temporal is asked about one page, the next is read and the last is written.
        """
        missing: list[Finish] = []
        settling: asyncio.Future[None] | None = None
        try:
            async with aclosing(read_ahead(self.store, self.options.batch_size)) as pages:
                async for rows in pages:
                    self.report.scanned += len(rows)
                    verdicts = await self._judge(rows)
                    missing += [v for v in verdicts if isinstance(v, Finish) and v.missing]
                    rest = [v for v in verdicts if isinstance(v, Leave) or not v.missing]
                    if settling:
                        await settling
                    settling = asyncio.ensure_future(self._settle(rest))
        finally:
            if settling:
                await settling  # what has been decided is written, whatever ends the pass
        return missing

    async def _judge(self, rows: Sequence[RunRow]) -> list[Verdict]:
        observations = await observe_all(self.probe, rows, self.options.concurrency)
        return [
            decide(row, observation, self.policy, self.now)
            for row, observation in zip(rows, observations, strict=True)
        ]

    async def _settle_missing(self, rows: Sequence[RunRow]) -> None:
        # The share of missing rows is known only at the end of the scan, which may be long after
        # the row was judged; its workflow may have started since. So Temporal is asked again.
        for first in range(0, len(rows), self.options.batch_size):
            await self._settle(await self._judge(rows[first : first + self.options.batch_size]))

    async def _settle(self, verdicts: Sequence[Verdict]) -> None:
        self.report.add_left(verdicts)
        for verdict in verdicts:
            if isinstance(verdict, Leave):
                _log_left(verdict)
        finishes = [verdict for verdict in verdicts if isinstance(verdict, Finish)]
        if not finishes:
            return
        written = await self._write(finishes)
        self.report.add_written(finishes, written.ids, written.refused.keys())
        for finish in finishes:
            _log_finish(finish, written, self.report)

    async def _write(self, finishes: Sequence[Finish]) -> Written:
        if self.options.dry_run:
            return Written(frozenset(finish.outcome.row.id for finish in finishes))
        outcomes = [finish.outcome for finish in finishes]
        return await self.store.finish_if_running(self.report.pass_id, outcomes)

    def _breaker_trips(self, to_finish: int) -> bool:
        left = self.report.left
        missing = to_finish + left[LeaveReason.NEVER_STARTED] + left[LeaveReason.EXPIRED]
        if not breaker_trips(missing, self.report.scanned, self.policy):
            return False
        log.warning(
            "most rows are unknown to Temporal: is this the right cluster and namespace?",
            missing=missing,
            scanned=self.report.scanned,
            held_back=to_finish,
        )
        return True


async def read_ahead(store: Store, size: int) -> AsyncGenerator[Sequence[RunRow], None]:
    """The running rows page by page; the next page is read while the caller works on this one.

    The cursor moves past every row of a page, whatever becomes of them: rows that are left as
    they are cannot be met again, nor strand those after them.
    """
    until = await store.last_running()
    if until is None:
        return
    page = await store.scan_running(None, until, size)
    while page:
        following = asyncio.ensure_future(store.scan_running(page[-1].id, until, size))
        try:
            yield page
            page = await following
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unusable):
                await following


async def observe_all(probe: Probe, rows: Sequence[RunRow], concurrency: int) -> list[Observation]:
    """What Temporal says about each row, in order, asking about `concurrency` rows at a time."""
    observations: list[Observation] = [Unknown("not asked")] * len(rows)
    waiting = iter(enumerate(rows))

    async def ask() -> None:
        for index, row in waiting:
            observations[index] = await _observe(probe, row)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(rows))):
                group.create_task(ask())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return observations


async def _observe(probe: Probe, row: RunRow) -> Observation:
    try:
        return await probe.observe(row)
    except Unusable:
        raise
    except Exception as error:
        # A row that trips over a bug of ours must not keep the others from being repaired.
        log.exception("could not judge a row", workflow_id=row.workflow_id, row_id=str(row.id))
        return Unknown(f"internal error: {error!r}")


def _log_left(leave: Leave) -> None:
    if leave.reason is LeaveReason.OPEN:
        return
    level = log.warning if leave.reason is LeaveReason.UNKNOWN else log.debug
    level(
        "left",
        workflow_id=leave.row.workflow_id,
        run_id=leave.row.run_id,
        reason=leave.reason.value,
        detail=leave.detail,
    )


def _log_finish(finish: Finish, written: Written, report: PassReport) -> None:
    outcome = finish.outcome
    event = log.bind(
        workflow_id=outcome.row.workflow_id,
        status=outcome.status,
        why=outcome.error_message or outcome.temporal_status,
        closed=outcome.completed_at and outcome.completed_at.isoformat(),
        run_id=outcome.row.run_id,
        pass_id=report.pass_id,
    )
    if outcome.row.id in written.refused:
        event.warning("refused by the database", cause=written.refused[outcome.row.id])
    elif outcome.row.id not in written.ids:
        event.debug("lost race: no longer running")
    else:
        event.info("would finish" if report.dry_run else "finished")
