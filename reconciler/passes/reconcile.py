"""One pass: scan the rows still marked running, ask Temporal, decide, write back.

```
scan ──► screen ──► ask Temporal ──► decide ──► write ──► count        page by page, see `pipeline`
                                       └ missing rows that the policy would fail are set aside
breaker trips?  yes: they are left        no: their pages get a second look, and are written
```

`app` calls `run_pass` for every mode; modes differ in arguments only. There is one rule about
errors: what concerns one row is an observation and is counted, what concerns everything is
`Unusable` and ends the pass.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeAlias

from reconciler.core.model import RowId
from reconciler.core.observer import Observer
from reconciler.core.policy import Policy
from reconciler.core.ports import Probe, Recording, Store
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassOptions
from reconciler.core.report.sweep import Swept
from reconciler.passes.breaker import Breaker
from reconciler.passes.judging import judge
from reconciler.passes.lifecycle import absorb_first_cancel, finish_despite_cancel, run_recorded
from reconciler.passes.log import PassLog
from reconciler.passes.pipeline import AHEAD, Page, Pipeline, Screening
from reconciler.passes.screening import VisibilityScreening, disagreements
from reconciler.passes.settle import Settled, Settler
from reconciler.passes.sweep import Course, record_sweep, set_course

#: Counts verdicts that were settled. The id is that of the last row if all rows up to it are done,
#: so that another process can resume the pass after it; else None.
_Count: TypeAlias = Callable[[Settled, RowId | None], None]


async def run_pass(
    store: Store,
    probe: Probe,
    history: Recording,
    observers: Sequence[Observer],
    policy: Policy,
    options: PassOptions,
    now: datetime,
    report: PassReport,
    pass_log: PassLog | None = None,
) -> PassReport:
    """Judge the rows on the pass's course; finish those whose workflow has ended.

    `now` is the only clock reading of the pass; `report` is new, or that of a pass to resume;
    `pass_log` is that of the pass before, if there was one. Always returns the report: if Temporal
    or the database becomes unusable, its outcome is `aborted`.

    It can be killed at any point. Cancelled, it stops: it asks about no further row, writes what it
    has decided and records its end. Cancelled again, it gives up the write under way.
    """
    pass_log = pass_log or PassLog()
    running = policy.statuses.running_label
    settler = Settler(store, history, observers, pass_log, report, options, running)
    rpcs_before = Counter(probe.rpcs())
    rpcs_when_resumed = report.rpcs

    async def run(swept: Swept | None) -> None:
        report.swept = swept
        try:
            # Asked in every pass: a table without running rows must not hide that Temporal is down.
            known = replace(policy, retention=await probe.retention())
            course = await set_course(store, known, swept, now, options, report)
            await _Pass(settler, probe, known, now, course).run()
        finally:
            report.rpcs = rpcs_when_resumed + (Counter(probe.rpcs()) - rpcs_before)

    await run_recorded(report, history, run, observers)
    pass_log.end(report)
    return report


@dataclass(slots=True)
class _Pass:
    settler: Settler
    probe: Probe
    policy: Policy
    now: datetime
    course: Course

    @property
    def report(self) -> PassReport:
        return self.settler.report

    @property
    def _breaker(self) -> Breaker:
        settler = self.settler
        return Breaker(self.probe, settler.history, self.policy, settler.report, settler.log)

    @property
    def may_continue(self) -> bool:
        return bool(not self.report.stopped and self.settler.changes_left)

    async def run(self) -> None:
        """Scan every page; then give missing rows a second look if the breaker does not trip."""
        progress = self.report.progress
        if progress is None:
            progress = self.report.progress = Progress(self.course.whole)
        described = await self._scan(progress)
        if progress.rest is not None or not self.may_continue:
            return
        if not self.settler.options.second_look:
            return
        if await self._breaker.trips():
            self.report.hold_back()
        elif self.report.request.dry_run:
            self.report.would_fail(self.policy.statuses.failed, self.settler.changes_left)
        else:
            await self._recheck(progress)
        if not self.report.stopped and not progress.more_left:
            record_sweep(self.report, self.course, self.settler.options, self.now, described)

    async def _scan(self, progress: Progress) -> int:
        """Settle each page; set missing rows aside that the policy would fail.

        Returns the number of rows in the parts that are not screened.
        """
        screening, described = VisibilityScreening(self.probe), 0
        count = partial(self._count_scanned, progress)
        for part in self.course.parts:
            before = self.report.tally.scanned
            screened = screening if part.is_screened else Screening()
            await self._go_through(
                part.span, self.settler.rows_left, screened, count, set_aside=True
            )
            if not (self.may_continue and self.settler.rows_left):
                return described
            if not part.is_screened:
                described += self.report.tally.scanned - before
        progress.rest = None
        return described

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

    async def _recheck(self, progress: Progress) -> None:
        """Settle the pages with missing rows once more, now that these may be failed.

        The share of missing rows is only known at the end of the scan, perhaps hours after a row
        was judged; its workflow may have started since. So the rows are read and asked about again,
        which also keeps them out of memory.
        """
        if progress.to_recheck and not progress.rechecking:
            progress.rechecking = True
            await self.settler.page_done()  # or later writes would be counted as the scan's
        while progress.to_recheck and self.may_continue:
            span = progress.to_recheck[0]
            count = partial(self._count_rechecked, span)
            await self._go_through(span, sys.maxsize, Screening(), count)
            if not (self.may_continue or span.after == span.until):
                return
            self.report.end_span()
            await self.settler.page_done()

    def _count_rechecked(self, span: Span, settled: Settled, last: RowId | None) -> None:
        span.second.add_ends(settled.tally)
        if last is not None:
            span.after = last

    async def _go_through(
        self,
        span: Span,
        rows: int,
        screening: Screening,
        count: _Count,
        *,
        set_aside: bool = False,
    ) -> None:
        """Settle a span page by page, up to the limits; `rows` at most.

        While one page is settled, the next is read and asked about. If the pass is stopped, or
        Temporal becomes unusable, it still settles the answers it has.
        """
        options = self.settler.options
        pipeline = Pipeline(
            self.settler.store,
            self.probe,
            span,
            screening,
            self.settler.log.bug,
            size=options.batch_size,
            concurrency=options.concurrency,
            rows=rows,
            # This page may use up the changes, and then the next would be asked about for nothing.
            ahead=AHEAD if options.max_changes is None else 0,
        )
        async with pipeline:
            while page := await self._next(pipeline):
                settling = self._settle(page, count, set_aside=set_aside)
                await finish_despite_cancel(self.report, asyncio.create_task(settling))
                if not self.settler.changes_left:
                    return

    async def _next(self, pipeline: Pipeline) -> Page | None:
        if not self.report.stopped:
            with absorb_first_cancel(self.report):
                return await pipeline.next()
        pipeline.stop()
        return await pipeline.next()

    async def _settle(self, page: Page, count: _Count, *, set_aside: bool) -> None:
        """Judge and settle a page, in as many pieces as the limit of changes asks for.

        A row that could not be written leaves room below the limit for a later one.
        """
        self.report.disagreements += disagreements(page)
        answered = zip(page.rows, page.observations, strict=True)
        observed = [(row, found) for row, found in answered if found is not None]
        verdicts = await judge(self.settler.store, self.probe, observed, self.policy, self.now)
        self._breaker.note(observed, verdicts)
        while verdicts:
            settled = await self.settler.settle(verdicts, set_aside=set_aside)
            if not settled.verdicts:
                return
            done = verdicts[: settled.verdicts]
            verdicts = verdicts[settled.verdicts :]
            is_done = page.complete and settled.failure is None
            count(settled, done[-1].row.id if is_done else None)
            await self.settler.announce(settled)
            if is_done:
                await self.settler.page_done(done if set_aside else ())
