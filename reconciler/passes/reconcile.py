"""One pass: scan the rows still marked running, ask Temporal, decide, write back.

```
scan ──► screen ──► ask Temporal ──► decide ──► write ──► count        page by page, see `pipeline`
                                       └ missing rows that the policy would fail are set aside
breaker trips?  yes: they are left        no: their pages are gone over once more, and written
```

`app` calls `run_pass` for every mode; they differ in arguments only. Its one rule about errors is
this: what concerns one row is an observation and is counted, what concerns everything is
`Unusable` and ends the pass.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from reconciler.core.model import RowId, Verdict
from reconciler.core.ports import History, Observer, Probe, Store
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.request import PassOptions
from reconciler.core.sweep import Sweep, Swept, next_sweep
from reconciler.core.verdict import MissingPolicy, Policy, breaker_trips
from reconciler.passes.judging import judged
from reconciler.passes.lifecycle import absorb_first_cancel, finish_despite_cancel, run_recorded
from reconciler.passes.log import PassLog
from reconciler.passes.pipeline import AHEAD, Page, Pipeline, Screening
from reconciler.passes.screening import VisibilityScreening, disagreements
from reconciler.passes.settle import Settled, Settler

_Settle = Callable[[Page, Sequence[Verdict]], Coroutine[None, None, None]]


async def run_pass(
    store: Store,
    probe: Probe,
    history: History,
    observers: Sequence[Observer],
    policy: Policy,
    options: PassOptions,
    now: datetime,
    report: PassReport,
    pass_log: PassLog | None = None,
) -> PassReport:
    """Judge every row that is running at the start; finish those whose workflow has ended.

    `now` is the one clock reading of the pass; `report` is its report, new or that of a pass to
    resume; `pass_log` is that of the pass before, if there was one. Always returns the report: if
    Temporal or the database becomes unusable, its outcome is `aborted`.

    It can be killed at any point. Cancelled, it stops: no further row is asked about, what has been
    decided is written, and its end recorded. Cancelled again, it gives up the write under way.
    """
    pass_log = pass_log or PassLog()
    rpcs_of_others, rpcs_before = report.rpcs, Counter(probe.rpcs())
    was = " or ".join(policy.statuses.running)
    settler = Settler(store, history, observers, pass_log, report, was, options.pauses)

    async def run(swept: Swept | None) -> None:
        try:
            # Asked in each pass: a table without running rows must not hide that Temporal is down.
            known = replace(policy, retention=await probe.retention())
            sweep = _sweep(known, next_sweep(swept, now, options.full_sweep_interval))
            report.sweep_end = sweep.end
            await _Pass(settler, probe, known, options, now, sweep).run()
        finally:
            report.rpcs = rpcs_of_others + (Counter(probe.rpcs()) - rpcs_before)

    await run_recorded(report, history, run, observers)
    pass_log.end(report)
    return report


def _sweep(policy: Policy, sweep: Sweep) -> Sweep:
    # The breaker has to see every row: visibility has a store of its own, and keeps showing as
    # open what the one behind descriptions has lost.
    return Sweep() if policy.missing is MissingPolicy.FAIL else sweep


class _Pass:
    def __init__(
        self,
        settler: Settler,
        probe: Probe,
        policy: Policy,
        options: PassOptions,
        now: datetime,
        sweep: Sweep,
    ) -> None:
        self.settler, self.probe, self.policy = settler, probe, policy
        self.options, self.now, self.sweep = options, now, sweep
        self.store, self.report = settler.store, settler.report
        # Limits are those of this process, also where it resumes what another has begun.
        self.rows_left = sys.maxsize if options.limit is None else options.limit
        self.changed_before = self.report.changed

    async def run(self) -> None:
        """Every page once; then, if the breaker lets them, the rows Temporal does not know."""
        progress = self.report.progress
        if progress is None:
            until = await self.store.last_running()
            progress = Progress(None if until is None else Span(None, until))
            self.report.progress = progress
        if progress.rest is not None:
            await self._scan(progress, progress.rest)
        if self.report.stopped or progress.rest or not self.changes_left:
            return
        if self._breaker_trips(progress):
            self.report.hold_back()
        elif self.report.request.dry_run:
            self.report.would_fail(self.policy.statuses.failed, self.changes_left)
        else:
            await self._recheck(progress)

    @property
    def changes_left(self) -> int:
        """Rows that may still be written."""
        if self.options.max_changes is None:
            return sys.maxsize
        return max(0, self.options.max_changes + self.changed_before - self.report.changed)

    async def _scan(self, progress: Progress, rest: Span) -> None:
        """Judge and settle each page, but for missing rows that the policy would fail."""
        screening = VisibilityScreening(self.probe, self.sweep, self.now)

        async def settle(page: Page, verdicts: Sequence[Verdict]) -> None:
            self.rows_left -= len(page.rows)
            count = partial(self._count_scanned, progress)
            await self._settle(page, verdicts, count, set_aside=True)

        await self._go_through(rest, self.rows_left, screening, settle)
        if not self.report.stopped and self.changes_left and self.rows_left:
            progress.rest = None

    def _count_scanned(self, progress: Progress, settled: Settled, last: RowId | None) -> None:
        rest = progress.rest
        if last is None or rest is None:
            self.report.done.add(settled.tally)
            return
        if settled.failing or progress.is_crowded:
            span = Span(rest.after, last, settled.tally)
            span.add_failing(settled.failing)
            progress.set_aside(span)
        else:
            self.report.done.add(settled.tally)
        progress.rest = None if last == rest.until else Span(last, rest.until)

    def _breaker_trips(self, progress: Progress) -> bool:
        tally = self.report.tally
        missing = sum(spread.rows for spread in tally.missing.values())
        if not breaker_trips(missing, tally.scanned, self.policy):
            return False
        held_back = sum(span.failing.total() for span in progress.to_recheck)
        self.settler.log.breaker(missing, tally.scanned, held_back)
        return True

    async def _recheck(self, progress: Progress) -> None:
        """Judge and settle the pages with missing rows once more, now that these may be failed.

        The share of missing rows is known only at the end of the scan, which may be long after a
        row was judged; its workflow may have started since. So the rows are read and asked about
        again, which also keeps them out of memory.
        """
        if progress.to_recheck and not progress.rechecking:
            progress.rechecking = True
            await self.settler.page_done()  # or what is written next would pass for the scan's
        while progress.to_recheck and self.changes_left and not self.report.stopped:
            span = progress.to_recheck[0]
            settle = partial(self._settle, count=partial(self._count_rechecked, span))
            await self._go_through(span, sys.maxsize, Screening(), settle)
            may_continue = self.changes_left and not self.report.stopped
            if not (may_continue or span.after == span.until):
                return
            self.report.end_span()
            await self.settler.page_done()

    def _count_rechecked(self, span: Span, settled: Settled, last: RowId | None) -> None:
        span.second.add_ends(settled.tally)
        if last is not None:
            span.after = last

    async def _go_through(
        self, span: Span, rows: int, screening: Screening, settle: _Settle
    ) -> None:
        """Settle a span page by page, as far as the limits go; `rows` at the most.

        While one page is settled, the next is read and asked about. If the pass is stopped, or
        Temporal becomes unusable, what has been answered is settled nevertheless.
        """
        pipeline = Pipeline(
            self.store,
            self.probe,
            span,
            screening,
            self.settler.log.bug,
            size=self.options.batch_size,
            concurrency=self.options.concurrency,
            rows=rows,
            # A limit of changes may be reached with this page: then the next would be in vain.
            ahead=AHEAD if self.options.max_changes is None else 0,
        )
        async with pipeline:
            while page := await self._next(pipeline):
                work = self._judge_and_settle(page, settle)
                await finish_despite_cancel(self.report, asyncio.create_task(work))
                if not self.changes_left:
                    return

    async def _next(self, pipeline: Pipeline) -> Page | None:
        if not self.report.stopped:
            with absorb_first_cancel(self.report):
                return await pipeline.next()
        pipeline.stop()
        return await pipeline.next()

    async def _judge_and_settle(self, page: Page, settle: _Settle) -> None:
        self.report.disagreements.update(disagreements(page))
        answered = zip(page.rows, page.observations, strict=True)
        observed = [(row, found) for row, found in answered if found is not None]
        await settle(page, await judged(self.store, observed, self.policy, self.now))

    async def _settle(
        self,
        page: Page,
        verdicts: Sequence[Verdict],
        count: Callable[[Settled, RowId | None], None],
        *,
        set_aside: bool = False,
    ) -> None:
        """Settle a page in as many pieces as the limit asks for.

        What could not be written leaves room below the limit for what comes after it. `count` gets
        the id up to which the pass has come; None if an earlier row is still to be looked at.
        """
        place = 0
        while place < len(verdicts):
            rest = verdicts[place:]
            settled = await self.settler.settle(rest, self.changes_left, set_aside=set_aside)
            if not settled.verdicts:
                return
            place += settled.verdicts
            complete = page.complete and settled.failure is None
            count(settled, page.rows[place - 1].id if complete else None)
            await self.settler.announce(settled)
            if complete:
                await self.settler.page_done(rest[: settled.verdicts] if set_aside else ())
