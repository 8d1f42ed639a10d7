"""Acting on verdicts: write, count, log and notify. For passes, and for the lines of a plan."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.core.errors import Unusable
from reconciler.core.model import Finish, Leave, Outcome, Verdict
from reconciler.core.observer import Observer
from reconciler.core.ports import Recording, Store, Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions
from reconciler.core.report.tally import Tally
from reconciler.host.cancellation import cancel_at_next_await
from reconciler.passes.log import PassLog
from reconciler.passes.observers import notify

#: Seconds: the longest pause after a write.
MAX_PAUSE = 1.0

_T = TypeVar("_T")


@dataclass(slots=True)
class Settled:
    """What was done with the first of some verdicts, up to the limit of changes."""

    #: How many verdicts these are.
    verdicts: int = 0
    tally: Tally = field(default_factory=Tally)
    #: Missing rows that were set aside for a second look.
    failing: Sequence[Finish] = ()
    #: What was written.
    outcomes: Sequence[Outcome] = ()
    #: Why nothing more could be written.
    failure: Unusable | None = None


@dataclass(slots=True)
class Settler:
    """Acts on verdicts. A dry run only counts what it would do."""

    store: Store
    history: Recording
    observers: Sequence[Observer]
    log: PassLog
    report: PassReport
    options: PassOptions
    #: The status that rows have before, for the log; all of them if there are several.
    running_label: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    # Both limits count what this process does, also in a pass that another has begun.
    #: Verdicts that may still be settled; the second look ignores it.
    rows_left: int = field(init=False)
    _changed_before: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows_left = sys.maxsize if self.options.limit is None else self.options.limit
        self._changed_before = self.report.changed

    @property
    def changes_left(self) -> int:
        """Rows that may still be written."""
        if self.options.max_changes is None:
            return sys.maxsize
        return max(0, self.options.max_changes + self._changed_before - self.report.changed)

    async def settle(self, verdicts: Sequence[Verdict], *, set_aside: bool = False) -> Settled:
        """Act on verdicts in their order until no changes are left; write with one statement.

        `set_aside`: leave the rows that Temporal does not know for a second look. The caller must
        add the tally to the report before its next `await`, or a cancellation would lose it.
        """
        settled = Settled()
        finishes: list[Finish] = []
        leaves: list[Leave] = []
        failing: list[Finish] = []
        changes_left = self.changes_left
        for verdict in verdicts:
            if isinstance(verdict, Leave):
                leaves.append(verdict)
            elif set_aside and verdict.missing is not None:
                failing.append(verdict)
            elif len(finishes) < changes_left:
                finishes.append(verdict)
            else:
                break
            settled.verdicts += 1
        self.rows_left -= settled.verdicts
        settled.failing = failing
        settled.tally.scanned = settled.verdicts
        settled.tally.add_left(leaves)
        settled.tally.add_set_aside(failing)
        for leave in leaves:
            self.log.left(leave)
        if finishes:
            await self._finish(finishes, settled)
        return settled

    async def _finish(self, finishes: Sequence[Finish], settled: Settled) -> None:
        written = await self._write(finishes)
        settled.failure = written.failure
        tried = [finish for finish in finishes if finish.row.id not in written.untried]
        settled.tally.scanned -= len(finishes) - len(tried)
        settled.tally.add_written(tried, written.ids, written.refused.keys())
        for finish in tried:
            self.log.finish(finish, written, self.running_label, self.report)
        settled.outcomes = [f.outcome for f in finishes if f.row.id in written.ids]

    async def _write(self, finishes: Sequence[Finish]) -> Written:
        if self.report.request.dry_run:
            return Written(frozenset(finish.row.id for finish in finishes))
        outcomes = [finish.outcome for finish in finishes]
        writing = self.store.finish_if_running(self.report.pass_id, outcomes)
        if not self.options.pauses:
            return await writing
        return await then_pause(writing, self.clock, self.sleep)

    async def announce(self, settled: Settled) -> None:
        """Notify observers of what was written, then raise `Unusable` if the rest could not be."""
        if settled.outcomes and not self.report.request.dry_run:
            await notify(
                self.observers, lambda each: each.on_written(self.report, settled.outcomes)
            )
        if settled.failure is not None:
            raise settled.failure

    async def page_done(self, verdicts: Sequence[Verdict] = ()) -> None:
        """Record the progress of a pass that can be resumed; notify observers of the page."""
        request = self.report.request
        if request.asked is not None and not request.dry_run:
            await self.history.checkpoint(self.report)
        await notify(self.observers, lambda each: each.on_page(self.report, verdicts))


async def then_pause(
    writing: Awaitable[_T],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _T:
    """Write, then leave the database alone for as long as that took, `MAX_PAUSE` at most."""
    started = clock()
    written = await writing
    try:
        await sleep(min(clock() - started, MAX_PAUSE))
    except asyncio.CancelledError:
        cancel_at_next_await()  # what was written has to be counted first
    return written
