"""What becomes of verdicts: written, counted, logged and told. Of a pass, and of a plan's lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reconciler.core.model import Finish, Leave, Verdict
from reconciler.core.ports import Observer, Store, Written
from reconciler.core.report import PassReport
from reconciler.host.cancellation import stop_at_the_next_step
from reconciler.passes.log import PassLog

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
        stop_at_the_next_step()  # what was written has to be counted first
    return written


@dataclass(frozen=True, slots=True)
class Settler:
    """Acts on verdicts, or in a dry run only counts what it would do."""

    store: Store
    observers: Sequence[Observer]
    log: PassLog
    report: PassReport
    #: The status that a row had, for the log: where several count as running, any of them.
    was: str
    #: Whether to leave the database alone after each write for as long as the write took.
    pauses: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def settle(self, verdicts: Sequence[Verdict]) -> Written:
        """Write what is to be written, in one statement; count what it returned.

        Raises `Unusable` if the database became so on the way, once what was written before that
        has been counted, logged and reported.
        """
        self.report.add_left(verdicts)
        for verdict in verdicts:
            if isinstance(verdict, Leave):
                self.log.left(verdict)
        finishes = [verdict for verdict in verdicts if isinstance(verdict, Finish)]
        if not finishes:
            return Written(frozenset())
        written = await self._write(finishes)
        tried = [f for f in finishes if f.outcome.row.id not in written.untried]
        self.report.add_written(tried, written.ids, written.refused.keys())
        for finish in tried:
            self.log.finish(finish, written, self.was, self.report)
        if not self.report.dry_run:
            outcomes = [f.outcome for f in finishes if f.outcome.row.id in written.ids]
            for observer in self.observers:
                await observer.on_written(outcomes)
        if written.failure is not None:
            raise written.failure
        return written

    async def _write(self, finishes: Sequence[Finish]) -> Written:
        if self.report.dry_run:
            return Written(frozenset(finish.outcome.row.id for finish in finishes))
        outcomes = [finish.outcome for finish in finishes]
        writing = self.store.finish_if_running(self.report.pass_id, outcomes)
        if not self.pauses:
            return await writing
        return await then_pause(writing, self.clock, self.sleep)

    async def settled(self, verdicts: Sequence[Verdict]) -> None:
        """A page is done: tell whoever notes down how far the pass has come."""
        for observer in self.observers:
            await observer.on_page(self.report, verdicts)
