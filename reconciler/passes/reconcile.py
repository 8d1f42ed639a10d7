"""One pass: scan the rows still marked running, ask Temporal, decide, write back.

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
from math import ceil

from reconciler.core.model import Finish, RowId, Verdict
from reconciler.core.options import PassOptions
from reconciler.core.ports import Observer, Probe, Store
from reconciler.core.progress import Progress, Span, is_missing, up_to
from reconciler.core.report import PassReport
from reconciler.core.sweep import Sweep, next_sweep
from reconciler.core.verdict import MissingPolicy, Policy, breaker_trips
from reconciler.host.cancellation import finished, stopping
from reconciler.passes.judging import judged
from reconciler.passes.lifecycle import recorded
from reconciler.passes.log import PassLog
from reconciler.passes.pipeline import PAGES, Feed, Feeding, Page, Screening
from reconciler.passes.screening import VisibilityScreening, disagreements, screened
from reconciler.passes.settle import Settler


async def run_pass(
    store: Store,
    probe: Probe,
    observers: Sequence[Observer],
    policy: Policy,
    options: PassOptions,
    now: datetime,
    pass_log: PassLog | None = None,
    report: PassReport | None = None,
) -> PassReport:
    """Judge every row that is running at the start; finish those whose workflow has ended.

    `now` is the one clock reading of the pass; `pass_log` is that of the pass before, if there was
    one; `report` that of this pass, if it was begun before and is to be resumed. Always returns a
    report: if Temporal or the database becomes unusable, its outcome is `aborted`.

    It can be killed at any point. Cancelled, it stops: no further row is asked about, what has been
    decided is written, and its end recorded. Cancelled again, it gives up the write under way.
    """
    pass_log, report = pass_log or PassLog(), report or options.new_report(now)
    rpcs_told, rpcs_before = report.rpcs, Counter(probe.rpcs())
    was = " or ".join(policy.statuses.running)
    settler = Settler(store, observers, pass_log, report, was, options.pauses)

    async def run() -> None:
        try:
            # Asked in each pass: a table without running rows must not hide that Temporal is away.
            known = replace(policy, retention=await probe.retention())
            await _Pass(settler, probe, known, options, now).run()
        finally:
            report.rpcs = rpcs_told + (Counter(probe.rpcs()) - rpcs_before)

    await recorded(report, observers, run)
    pass_log.end(report)
    return report


class _Pass:
    def __init__(
        self,
        settler: Settler,
        probe: Probe,
        policy: Policy,
        options: PassOptions,
        now: datetime,
    ) -> None:
        self.settler, self.probe, self.policy = settler, probe, policy
        self.options, self.now = options, now
        self.store, self.report = settler.store, settler.report
        self.sweep = next_sweep(self.report.swept, now, options.full_sweep_interval)
        if policy.missing is MissingPolicy.FAIL:
            # The breaker has to see every row: visibility has a store of its own, and goes on
            # showing as open what the one behind descriptions has lost.
            self.sweep = Sweep()
        self.report.sweep_end = self.sweep.end
        # Limits are those of this process, also where it goes on with what another has begun.
        self.rows_left = sys.maxsize if options.limit is None else options.limit
        self.changed_before = self.report.changed

    async def run(self) -> None:
        """Every page once; then, if the breaker lets them, the rows Temporal does not know."""
        progress = self.report.progress
        if progress is None:
            until = await self.store.last_running()
            progress = Progress(None if until is None else Span(None, until))
            self.report.progress = progress
        self.report.go_on(progress)
        if not progress.looks_again:
            await self._scan(progress)
        if self.report.stopped or progress.rest or not self.changes_left:
            return
        if self._breaker_trips(progress):
            self.report.hold_back(progress.again)
            progress.again.clear()
        elif self.options.dry_run:
            failed = self.policy.statuses.failed
            if self.report.would_fail(progress.again, failed, self.changes_left):
                progress.again.clear()
        else:
            await self._look_again(progress)

    @property
    def changes_left(self) -> int:
        if self.options.max_changes is None:
            return sys.maxsize
        return max(0, self.options.max_changes + self.changed_before - self.report.changed)

    async def _scan(self, progress: Progress) -> None:
        """Judge and settle each page, but for missing rows that the policy would fail."""
        if progress.rest is None:
            return
        screening = VisibilityScreening(self.probe, self.sweep, self.now)
        settle = partial(self._settle, progress)
        await self._go_through(progress.rest, self.rows_left, screening, settle)
        if not self.report.stopped and self.changes_left and self.rows_left:
            progress.rest = None

    async def _go_through(
        self,
        span: Span,
        rows: int,
        screening: Screening,
        settle: Callable[[Page, Sequence[Verdict]], Coroutine[None, None, None]],
    ) -> None:
        """Settle a span page by page, as far as the limits go; `rows` at the most.

        While one page is settled, others are read and asked about. If the pass is stopped, or
        Temporal becomes unusable, what has been answered is settled nevertheless.
        """
        size, concurrency = self.options.batch_size, self.options.concurrency
        feeding = Feeding(size, concurrency, self.settler.log.bug, rows)
        async with Feed(self.store, self.probe, span, feeding, screening) as feed:
            while page := await self._next(feed):
                work = self._judge_and_settle(feed, page, settle)
                await finished(self.report, asyncio.create_task(work))
                if not self.changes_left:
                    return

    async def _judge_and_settle(
        self,
        feed: Feed,
        page: Page,
        settle: Callable[[Page, Sequence[Verdict]], Coroutine[None, None, None]],
    ) -> None:
        verdicts = await self._judge(page)
        feed.allow(1 + self._pages_ahead(sum(map(_is_finish, verdicts))))
        await settle(page, verdicts)

    def _pages_ahead(self, changes: int = 0) -> int:
        """How many pages may be asked about: none that the limit is sure to be reached before.

        `changes` are those that are about to be made.
        """
        changes_left = max(0, self.changes_left - changes)
        return min(PAGES - 1, ceil(changes_left / self.options.batch_size))

    async def _next(self, feed: Feed) -> Page | None:
        feed.allow(max(1, self._pages_ahead()))
        if not self.report.stopped:
            with stopping(self.report):
                return await feed.next()
        feed.stop()
        return await feed.next()

    async def _judge(self, page: Page) -> list[Verdict]:
        """A verdict on each row that was answered."""
        self.report.disagreements.update(disagreements(page))
        answered = zip(page.rows, page.observations, strict=True)
        observed = [(row, found) for row, found in answered if found is not None]
        return await judged(self.store, observed, self.policy, self.now)

    async def _settle(self, progress: Progress, page: Page, verdicts: Sequence[Verdict]) -> None:
        rows = page.rows
        self.rows_left -= len(rows)
        # What could not be written leaves room below the limit for what comes after it.
        while piece := up_to(self.changes_left, _is_closing, verdicts):
            last = rows[len(piece) - 1].id if page.complete else None
            await self._settle_piece(progress, piece, last)
            rows, verdicts = rows[len(piece) :], verdicts[len(piece) :]

    async def _settle_piece(
        self, progress: Progress, verdicts: Sequence[Verdict], last: RowId | None
    ) -> None:
        self.report.add_scanned(verdicts)
        self.report.screened += screened(verdicts)
        self.report.add_set_aside(verdicts)
        written = await self.settler.settle([v for v in verdicts if not is_missing(v)])
        if last is not None and progress.rest is not None:
            after = progress.rest.after
            if progress.is_crowded or any(map(is_missing, verdicts)):
                page = Span.of(after, last, verdicts, written.ids, written.refused.keys())
                progress.set_aside(page)
            until = progress.rest.until
            progress.rest = None if last == until else Span(last, until)
            await self.settler.settled(verdicts)

    def _breaker_trips(self, progress: Progress) -> bool:
        missing = sum(spread.rows for spread in self.report.missing.values())
        if not breaker_trips(missing, self.report.scanned, self.policy):
            return False
        held_back = sum(span.failing.total() for span in progress.again)
        self.settler.log.breaker(missing, self.report.scanned, held_back)
        return True

    async def _look_again(self, progress: Progress) -> None:
        """Judge and settle the pages with missing rows once more, now that these may be failed.

        The share of missing rows is known only at the end of the scan, which may be long after a
        row was judged; its workflow may have started since. So the rows are read and asked about
        again, which also keeps them out of memory.
        """
        if progress.again and not progress.looks_again:
            progress.looks_again = True
            await self.settler.settled(())  # or what is written next would pass for the scan's
        while progress.again and self.changes_left and not self.report.stopped:
            span = progress.again[0]
            settle = partial(self._settle_again, span)
            await self._go_through(span, sys.maxsize, Screening(), settle)
            may_go_on = self.changes_left and not self.report.stopped
            if not (may_go_on or span.after == span.until):
                return
            self.report.end_span(span)
            del progress.again[0]
            progress.looks_again = bool(progress.again)
            await self.settler.settled(())

    async def _settle_again(self, span: Span, page: Page, verdicts: Sequence[Verdict]) -> None:
        rows = page.rows
        # As in the scan: what could not be written leaves room below the limit.
        while piece := up_to(self.changes_left, _is_finish, verdicts):
            self.report.look_again(span, piece)
            await self.settler.settle(piece)
            if page.complete:
                span.after = rows[len(piece) - 1].id
                if span.after != span.until:
                    await self.settler.settled(())
            rows, verdicts = rows[len(piece) :], verdicts[len(piece) :]


def _is_finish(verdict: Verdict) -> bool:
    return isinstance(verdict, Finish)


def _is_closing(verdict: Verdict) -> bool:
    return _is_finish(verdict) and not is_missing(verdict)
