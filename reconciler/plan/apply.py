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

from reconciler.core.model import Finish, Verdict
from reconciler.core.options import PassOptions
from reconciler.core.ports import Observer, Store
from reconciler.core.progress import Progress, Span, is_missing, up_to
from reconciler.core.report import PassReport
from reconciler.host.cancellation import finished, in_thread, stopping
from reconciler.passes.lifecycle import recorded
from reconciler.passes.log import PassLog
from reconciler.passes.settle import Settler
from reconciler.plan.read import Batch, Plan

#: Removes from a message what must not be kept.
Redact: TypeAlias = Callable[[str], Awaitable[str]]


async def apply_plan(
    store: Store,
    plan: Plan,
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
    with the same plan and is to be gone on with: `report.progress` counts lines where that of
    another pass counts ids. `report.scanned` are the lines gone through. `redact` is for messages
    of a plan that was made before there was anything to be cut out of them.

    Returns and stops as `run_pass` does: cancelled, it ends after the batch under way, if one is
    being written.
    """
    settler = Settler(store, observers, pass_log, report, was, options.pauses)
    application = _Application(settler, plan, options, redact, force=force)
    await recorded(report, observers, application.run)
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
        # Limits are those of this process, also where it goes on with what another has begun.
        self.lines_left = sys.maxsize if options.limit is None else options.limit
        self.changed_before = self.report.changed

    async def run(self) -> None:
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
                if not self._may_go_on:
                    return

    async def _read(self, lines: Iterator[Batch], stop: threading.Event) -> Batch | None:
        # In a thread: there may be a million lines of rows that are left before the next batch.
        with stopping(self.report):
            return await in_thread(stop, next, lines, None)
        return None

    @property
    def _may_go_on(self) -> bool:
        return bool(not self.report.stopped and self.lines_left and self._changes_left)

    @property
    def _changes_left(self) -> int:
        if self.max_changes is None:
            return sys.maxsize
        return max(0, self.max_changes + self.changed_before - self.report.changed)

    async def _go_through(self, progress: Progress, batch: Batch) -> None:
        """A batch, in as many pieces as the limits ask for."""
        while batch and self._may_go_on:
            verdicts = [await self._redacted(finish) for _, finish in batch[: self.lines_left]]
            piece = up_to(self._changes_left, self._is_to_be_written, verdicts)
            last, _ = batch[len(piece) - 1]
            settling = asyncio.create_task(self._settle(progress, piece, last))
            await finished(self.report, settling)
            self.lines_left -= len(piece)
            batch = batch[len(piece) :]

    async def _redacted(self, finish: Finish) -> Finish:
        message = finish.outcome.error_message
        if message is None or self.redact is None:
            return finish
        message = await self.redact(message)
        return replace(finish, outcome=replace(finish.outcome, error_message=message))

    async def _settle(self, progress: Progress, verdicts: Sequence[Verdict], last: int) -> None:
        held_back = [v for v in verdicts if not self._is_to_be_written(v)]
        lost_before = self.report.lost_races
        await self.settler.settle([v for v in verdicts if self._is_to_be_written(v)])
        # Counted when it has come off: of a write that fails, these lines are gone through again.
        self.report.add_scanned(verdicts)
        self.report.add_set_aside(held_back)
        self.report.hold_back([Span.of(None, last, held_back)])
        self._take_back(progress, self.report.lost_races - lost_before)
        until = self.plan.last_finish
        progress.rest = None if last == until else Span(last, until)
        await self.settler.settled(verdicts)

    def _take_back(self, progress: Progress, lost: int) -> None:
        """One that this pass itself has finished, without coming to note it, is no lost race."""
        own = min(lost, progress.unnoted)
        progress.unnoted -= own
        self.report.lost_races -= own

    def _is_to_be_written(self, verdict: Verdict) -> bool:
        return not (self.holds_back and is_missing(verdict))
