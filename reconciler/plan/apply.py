"""Writing exactly what a plan says, without asking Temporal: a pass over its lines.

Guarded row by row like any other: a row that is no longer running, or that another run has come
to use since the plan was made, is a lost race.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TypeAlias

from reconciler.core.model import Finish
from reconciler.core.ports import History, Observer, Store
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.request import PassOptions
from reconciler.core.sweep import Swept
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
    was: str,
    options: PassOptions,
    pass_log: PassLog,
    report: PassReport,
    *,
    force: bool,
    redact: Redact | None = None,
) -> PassReport:
    """Finish the rows that the plan says are to be finished, if they are still running.

    `was` is the status they have, for the log; `force` finishes also those that the breaker held
    back when the plan was made. `report` is that of this pass, or of one that was begun before
    with the same plan and is to be resumed: `report.progress` counts lines where that of another
    pass counts ids, and its tally lines that were gone through. `redact` is for messages of a plan
    that was made before there was anything to be cut out of them.

    Returns and stops as `run_pass` does: cancelled, it ends after the batch under way, if one is
    being written.
    """
    settler = Settler(store, history, observers, pass_log, report, was, options.pauses)
    application = _Application(settler, plan, options, redact, force=force)
    await run_recorded(report, history, application.run, observers)
    pass_log.end(report)
    return report


class _Application:
    def __init__(
        self,
        settler: Settler,
        plan: Plan,
        options: PassOptions,
        redact: Redact | None,
        *,
        force: bool,
    ) -> None:
        self.redact = redact
        self.settler, self.report, self.plan = settler, settler.report, plan
        self.batch_size, self.max_changes = options.batch_size, options.max_changes
        self.holds_back = plan.held_back > 0 and not force
        # Limits are those of this process, also where it resumes what another has begun.
        self.lines_left = sys.maxsize if options.limit is None else options.limit
        self.changed_before = self.report.changed

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
        stop = threading.Event()
        done = after if isinstance(after, int) else 0
        with closing(self.plan.batches(done, self.batch_size, stop.is_set)) as lines:
            while batch := await self._read(lines, stop):
                await self._go_through(progress, batch)
                if not self._may_continue:
                    return

    async def _read(self, lines: Iterator[Batch], stop: threading.Event) -> Batch | None:
        # In a thread: there may be a million lines of rows that are left before the next batch.
        with absorb_first_cancel(self.report):
            return await in_thread(stop, next, lines, None)
        return None

    @property
    def _may_continue(self) -> bool:
        return bool(not self.report.stopped and self.lines_left and self._changes_left)

    @property
    def _changes_left(self) -> int:
        if self.max_changes is None:
            return sys.maxsize
        return max(0, self.max_changes + self.changed_before - self.report.changed)

    async def _go_through(self, progress: Progress, batch: Batch) -> None:
        """A batch, in as many pieces as the limits ask for."""
        while batch and self._may_continue:
            settling = asyncio.create_task(self._settle(progress, batch[: self.lines_left]))
            await finish_despite_cancel(self.report, settling)
            done = settling.result()
            self.lines_left -= done
            batch = batch[done:]

    async def _redacted(self, finish: Finish) -> Finish:
        message = finish.outcome.error_message
        if message is None or self.redact is None:
            return finish
        message = await self.redact(message)
        return replace(finish, outcome=replace(finish.outcome, error_message=message))

    async def _settle(self, progress: Progress, batch: Batch) -> int:
        """Settle the first lines of a batch; returns how many."""
        verdicts = [await self._redacted(finish) for _, finish in batch]
        limit, hold = self._changes_left, self.holds_back
        settled = await self.settler.settle(verdicts, limit, set_aside=hold)
        self._count(progress, settled)
        await self.settler.announce(settled)
        if settled.verdicts:
            last, _ = batch[settled.verdicts - 1]
            until = self.plan.last_finish
            progress.rest = None if last == until else Span(last, until)
            await self.settler.page_done(verdicts[: settled.verdicts])
        return settled.verdicts

    def _count(self, progress: Progress, settled: Settled) -> None:
        # A row that this pass itself has finished, without recording it, is no lost race.
        own = min(settled.tally.lost_races, progress.unrecorded)
        progress.unrecorded -= own
        settled.tally.lost_races -= own
        settled.tally.scanned -= own
        self.report.done.add(settled.tally)
        self.report.held_back += len(settled.failing)
        self.report.done.note_age(finish.outcome.row for finish in settled.failing)
