"""What becomes of verdicts: written, counted, logged. Of a pass, and of a plan's lines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.core.errors import Unusable
from reconciler.core.model import Finish, Leave, Outcome, Verdict
from reconciler.core.ports import History, Observer, Store, Written
from reconciler.core.report import PassReport
from reconciler.core.tally import Tally
from reconciler.host.cancellation import cancel_at_next_await
from reconciler.passes.log import PassLog
from reconciler.passes.observers import notify

#: Seconds: the longest pause after a write.
MAX_PAUSE = 1.0

_T = TypeVar("_T")


async def then_pause(
    writing: Awaitable[_T],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _T:
    """Write, and leave the database alone for as long as that took: the slower, the longer."""
    started = clock()
    written = await writing
    try:
        await sleep(min(clock() - started, MAX_PAUSE))
    except asyncio.CancelledError:
        cancel_at_next_await()  # what was written has to be counted first
    return written


@dataclass(slots=True)
class Settled:
    """What became of the first verdicts."""

    #: How many, until the limit was reached.
    verdicts: int = 0
    tally: Tally = field(default_factory=Tally)
    #: Missing rows that were set aside for a second look.
    failing: Sequence[Finish] = ()
    #: What was written.
    outcomes: Sequence[Outcome] = ()
    #: Why nothing more could be written.
    failure: Unusable | None = None


@dataclass(frozen=True, slots=True)
class Settler:
    """Acts on verdicts, or in a dry run only counts what it would do."""

    store: Store
    history: History
    observers: Sequence[Observer]
    log: PassLog
    report: PassReport
    #: The status that a row had, for the log: where several count as running, any of them.
    was: str
    #: Whether to leave the database alone after each write for as long as the write took.
    pauses: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def settle(
        self, verdicts: Sequence[Verdict], limit: int = sys.maxsize, *, set_aside: bool = False
    ) -> Settled:
        """Write what is to be written, at most `limit` rows, in one statement; count it all.

        `set_aside`: rows that Temporal does not know are left for now. The caller adds the tally
        to the report before it waits for anything else, or a cancellation would lose it.
        """
        settled = Settled()
        finishes: list[Finish] = []
        leaves: list[Leave] = []
        failing: list[Finish] = []
        for verdict in verdicts:
            if isinstance(verdict, Leave):
                leaves.append(verdict)
            elif set_aside and verdict.missing is not None:
                failing.append(verdict)
            elif len(finishes) < limit:
                finishes.append(verdict)
            else:
                break
            settled.verdicts += 1
        settled.failing, settled.tally.scanned = failing, settled.verdicts
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
        tried = [f for f in finishes if f.outcome.row.id not in written.untried]
        settled.tally.scanned -= len(finishes) - len(tried)
        settled.tally.add_written(tried, written.ids, written.refused.keys())
        for finish in tried:
            self.log.finish(finish, written, self.was, self.report)
        settled.outcomes = [f.outcome for f in finishes if f.outcome.row.id in written.ids]

    async def announce(self, settled: Settled) -> None:
        """Notify observers of what was written; raise what kept the rest from being written."""
        if settled.outcomes and not self.report.request.dry_run:
            await notify(self.observers, lambda each: each.on_written(settled.outcomes))
        if settled.failure is not None:
            raise settled.failure

    async def _write(self, finishes: Sequence[Finish]) -> Written:
        if self.report.request.dry_run:
            return Written(frozenset(finish.outcome.row.id for finish in finishes))
        outcomes = [finish.outcome for finish in finishes]
        writing = self.store.finish_if_running(self.report.pass_id, outcomes)
        if not self.pauses:
            return await writing
        return await then_pause(writing, self.clock, self.sleep)

    async def page_done(self, verdicts: Sequence[Verdict] = ()) -> None:
        """Record how far the pass has come, and notify observers of the page."""
        request = self.report.request
        if request.asked is not None and not request.dry_run:
            await self.history.checkpoint(self.report)
        await notify(self.observers, lambda each: each.on_page(self.report, verdicts))
