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
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from reconciler.core.model import Finish, Leave, LeaveReason, Observation, RunRow, Verdict
from reconciler.core.report import PassReport
from reconciler.core.verdict import Policy, breaker_trips, decide
from reconciler.errors import Unusable
from reconciler.feed import observe_all, read_ahead
from reconciler.pass_log import PassLog
from reconciler.ports import Observer, Probe, Store, Written


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
    observers: Sequence[Observer],
    policy: Policy,
    options: PassOptions,
    now: datetime,
    pass_log: PassLog | None = None,
) -> PassReport:
    """Judge every row that is running at the start; finish those whose workflow has ended.

    `now` is the one clock reading of the pass; `pass_log` is that of the pass before, if there was
    one. Always returns a report: if Temporal or the
    database becomes unusable on the way, its outcome is `aborted` and what was written before
    stays written.

    It can be killed at any point. Cancelled, it stops: no further row is asked about, what has
    been decided is written, and the report is returned, as stopped. Cancelled again, it ends at
    once.
    """
    pass_log = pass_log or PassLog()
    report = PassReport(
        pass_id=str(uuid4()), mode=options.mode, dry_run=options.dry_run, started_at=now
    )
    started, rpcs_before = time.monotonic(), Counter(probe.rpcs())
    try:
        with _stopping(report):
            for observer in observers:
                await observer.on_start(report)
            # Asked in each pass: a table without running rows must not hide that Temporal is away.
            policy = replace(policy, retention=await probe.retention())
            await _Pass(store, probe, observers, policy, options, now, report, pass_log).run()
    except Unusable as error:
        report.error = str(error)
    report.duration_seconds = time.monotonic() - started
    report.rpcs = Counter(probe.rpcs()) - rpcs_before
    await _through(_tell_the_end(observers, report))
    pass_log.end(report)
    return report


async def _tell_the_end(observers: Sequence[Observer], report: PassReport) -> None:
    for observer in observers:
        await observer.on_pass(report)


async def _through(ending: Coroutine[None, None, None]) -> None:
    """Do this even if asked to stop meanwhile; asked a second time, end at once."""
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


@dataclass(frozen=True, slots=True)
class _Pass:
    store: Store
    probe: Probe
    observers: Sequence[Observer]
    policy: Policy
    options: PassOptions
    now: datetime
    report: PassReport
    log: PassLog

    async def run(self) -> None:
        """Every page once; then, if the breaker lets them, the rows Temporal does not know."""
        missing = await self._run_pages()
        if self.report.stopped or self._breaker_trips(len(missing)):
            self.report.hold_back(missing)
        else:
            await self._settle_missing(missing)

    async def _run_pages(self) -> list[Finish]:
        """Judge and settle each page; returns the missing rows that the policy would fail.

        While Temporal is asked about one page, the next is read and the last is written.
        """
        missing: list[Finish] = []
        settling: asyncio.Task[None] | None = None
        try:
            with _stopping(self.report):
                async with aclosing(read_ahead(self.store, self.options.batch_size)) as pages:
                    async for rows in pages:
                        rest = self._set_aside(missing, await self._judge(rows))
                        if settling:
                            await self._settled(settling)
                        settling = asyncio.create_task(self._settle(rest))
                        if self.report.stopped:
                            break
        finally:
            if settling:
                await self._settled(settling)  # whatever ends the pass
        return missing

    def _set_aside(self, missing: list[Finish], verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Put off the missing rows that the policy would fail; returns the other verdicts."""
        self.report.scanned += len(verdicts)
        missing += [v for v in verdicts if isinstance(v, Finish) and v.missing]
        return [v for v in verdicts if isinstance(v, Leave) or not v.missing]

    async def _judge(self, rows: Sequence[RunRow]) -> list[Verdict]:
        """A verdict on each row; if the pass is stopped meanwhile, on those that were answered."""
        observed: dict[RunRow, Observation] = {}
        with _stopping(self.report):
            await observe_all(self.probe, rows, self.options.concurrency, observed)
        return [
            decide(row, observed[row], self.policy, self.now) for row in rows if row in observed
        ]

    async def _settle_missing(self, missing: Sequence[Finish]) -> None:
        # The share of missing rows is known only at the end of the scan, which may be long after
        # the row was judged; its workflow may have started since. So Temporal is asked again.
        size = self.options.batch_size
        for first in range(0, len(missing), size):
            batch = missing[first : first + size]
            verdicts = await self._judge([finish.outcome.row for finish in batch])
            await self._settled(asyncio.create_task(self._settle(verdicts)))
            if self.report.stopped:
                self.report.hold_back(missing[first + len(verdicts) :])
                return

    async def _settled(self, settling: asyncio.Task[None]) -> None:
        """Wait for what has been decided to be written, even if the pass is stopped meanwhile."""
        try:
            with _stopping(self.report):
                await asyncio.wait([settling])
            await asyncio.wait([settling])
        finally:
            settling.cancel()  # a second request to stop
        settling.result()

    async def _settle(self, verdicts: Sequence[Verdict]) -> None:
        self.report.add_left(verdicts)
        for verdict in verdicts:
            if isinstance(verdict, Leave):
                self.log.left(verdict)
        finishes = [verdict for verdict in verdicts if isinstance(verdict, Finish)]
        if not finishes:
            return
        written = await self._write(finishes)
        self.report.add_written(finishes, written.ids, written.refused.keys())
        for finish in finishes:
            self.log.finish(finish, written, self.policy.statuses.running, self.report)
        if not self.options.dry_run:
            outcomes = [f.outcome for f in finishes if f.outcome.row.id in written.ids]
            for observer in self.observers:
                await observer.on_written(outcomes)

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
        self.log.breaker(missing, self.report.scanned, to_finish)
        return True


@contextlib.contextmanager
def _stopping(report: PassReport) -> Iterator[None]:
    """Take the first cancellation for the request to stop that it is; the second one counts."""
    try:
        yield
    except asyncio.CancelledError:
        if report.stopped:
            raise
        if task := asyncio.current_task():
            task.uncancel()
        report.stop()
