"""Writing exactly what a plan says, without asking Temporal: a pass over its lines.

Every write is guarded as in any pass: a row that is no longer running, or is about another run than
when the plan was made, is a lost race.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeAlias

from reconciler.core.model import Finish
from reconciler.core.observer import Observer
from reconciler.core.ports import History, Store
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassOptions
from reconciler.core.report.sweep import Swept
from reconciler.host.cancellation import in_thread
from reconciler.passes.lifecycle import absorb_first_cancel, finish_despite_cancel, run_recorded
from reconciler.passes.log import PassLog
from reconciler.passes.settle import Settled, Settler
from reconciler.plan.read import Batch, Plan

#: Removes from a message what must not be kept.
Redact: TypeAlias = Callable[[str], Awaitable[str]]


async def apply_plan(
    store: Store,
    plan: Plan,
    history: History,
    observers: Sequence[Observer],
    running_label: str,
    options: PassOptions,
    pass_log: PassLog,
    report: PassReport,
    *,
    force: bool,
    redact: Redact | None = None,
) -> PassReport:
    """Finish the rows that the plan says to finish, if they are still running.

    `running_label` is the status they have, for the log; `force` also finishes rows that the
    breaker held back when the plan was made; `redact` is for messages of a plan that was made
    before a redaction was set. `report` is new, or that of an earlier pass with the same plan, to
    resume it: `report.progress` counts lines instead of ids.

    Returns and stops as `run_pass` does: cancelled, it ends after the batch under way, if one is
    being written.
    """
    settler = Settler(store, history, observers, pass_log, report, options, running_label)
    application = _Application(settler, plan, redact, holds_back=plan.held_back > 0 and not force)
    await run_recorded(report, history, application.run, observers)
    pass_log.end(report)
    return report


@dataclass(slots=True)
class _Application:
    settler: Settler
    plan: Plan
    redact: Redact | None
    holds_back: bool

    @property
    def report(self) -> PassReport:
        return self.settler.report

    @property
    def may_continue(self) -> bool:
        limits = self.settler.rows_left and self.settler.changes_left
        return bool(limits and not self.report.stopped)

    async def run(self, _: Swept | None) -> None:
        """Go through the lines that are left."""
        progress = self.report.progress
        if progress is None:
            rest = Span(None, self.plan.last_finish) if self.plan.finishes else None
            progress = self.report.progress = Progress(rest)
        if progress.rest is None:
            return
        if self.holds_back:
            held_back = self.plan.held_back
            self.settler.log.breaker(held_back, self.plan.rows, held_back)
        after = progress.rest.after
        done = after if isinstance(after, int) else 0
        stop = threading.Event()
        size = self.settler.options.batch_size
        with closing(self.plan.batches(done, size, stop.is_set)) as batches:
            while batch := await self._read(batches, stop):
                await self._go_through(progress, batch)
                if not self.may_continue:
                    return

    async def _read(self, batches: Iterator[Batch], stop: threading.Event) -> Batch | None:
        # In a thread: a million lines about rows that are left may come before the next batch.
        with absorb_first_cancel(self.report):
            return await in_thread(stop, next, batches, None)
        return None

    async def _go_through(self, progress: Progress, batch: Batch) -> None:
        """Settle a batch, in as many pieces as the limits ask for."""
        while batch and self.may_continue:
            piece = batch[: self.settler.rows_left]
            settling = asyncio.create_task(self._settle(progress, piece))
            await finish_despite_cancel(self.report, settling)
            batch = batch[settling.result() :]

    async def _settle(self, progress: Progress, batch: Batch) -> int:
        """Settle the first lines of a batch; returns how many."""
        verdicts = [await self._redacted(finish) for _, finish in batch]
        settled = await self.settler.settle(verdicts, set_aside=self.holds_back)
        self._count(progress, settled)
        await self.settler.announce(settled)
        if settled.verdicts:
            last, _ = batch[settled.verdicts - 1]
            until = self.plan.last_finish
            progress.rest = None if last == until else Span(last, until)
            await self.settler.page_done(verdicts[: settled.verdicts])
        return settled.verdicts

    async def _redacted(self, finish: Finish) -> Finish:
        message = finish.outcome.error_message
        if message is None or self.redact is None:
            return finish
        message = await self.redact(message)
        return replace(finish, outcome=replace(finish.outcome, error_message=message))

    def _count(self, progress: Progress, settled: Settled) -> None:
        # A row that this pass itself has finished, without recording it, is no lost race.
        own = min(settled.tally.lost_races, progress.unrecorded)
        progress.unrecorded -= own
        settled.tally.lost_races -= own
        settled.tally.scanned -= own
        self.report.done.add(settled.tally)
        self.report.held_back += len(settled.failing)
        self.report.done.note_left(finish.row.created_at for finish in settled.failing)
