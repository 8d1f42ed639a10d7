"""Undoing a pass: go through its changes, newest first, and put back what is as it was left.

A pass of its own: recorded, journalled, and undone by the same command. It asks Temporal nothing.
It can be killed at any point and given again: what is put back already is found to be so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.ports import History
from reconciler.core.sweep import Swept
from reconciler.core.undo import Change, Kept, Restored, Standing, UndoReport, why_kept
from reconciler.host.causes import Causes, in_words
from reconciler.passes.lifecycle import finish_despite_cancel, run_recorded
from reconciler.passes.settle import then_pause

#: Rows not put back that get a line in the log each, per cause; the others are only counted.
MAX_LINES = 20

log = structlog.get_logger(__name__)


class Journal(Protocol):
    """The changes of passes. Every method is a short transaction of its own."""

    async def page(self, pass_id: str, before: int | None, limit: int) -> Sequence[Change]:
        """The next changes of a pass, newest first: those with an id below `before`.

        No row is twice among them.
        """
        ...

    async def restore(self, pass_id: str, of: Sequence[int]) -> Restored:
        """Put back the rows of these changes that are as they were left; journal it."""
        ...

    async def standings(self, of: Sequence[int]) -> Mapping[int, Standing | str]:
        """How the rows of these changes stand now; of one that cannot be read, why."""
        ...


async def run_undo(
    journal: Journal, history: History, report: UndoReport, batch_size: int
) -> UndoReport:
    """Undo the pass `report.undone`; always returns the report.

    Cancelled, it stops after the statement under way; cancelled again, it gives that up.
    """
    causes = Causes(MAX_LINES)
    await run_recorded(report, history, partial(_Undo(journal, report, causes).run, batch_size))
    if beyond := causes.end_round():
        log.warning("more_rows_left", rows=sum(beyond.values()), why=in_words(beyond))
    _tell_the_end(report)
    return report


class _Undo:
    def __init__(self, journal: Journal, report: UndoReport, causes: Causes) -> None:
        self.journal, self.report, self.causes = journal, report, causes

    async def run(self, batch_size: int, _: Swept | None) -> None:
        """Every change of the pass, a page at a time."""
        before: int | None = None
        while not self.report.stopped:
            page = await self.journal.page(self.report.undone, before, batch_size)
            if not page:
                self._tell_what_is_not_there()
                return
            undoing = asyncio.create_task(self._undo(page))
            await finish_despite_cancel(self.report, undoing)
            before = page[-1].id

    async def _undo(self, page: Sequence[Change]) -> None:
        restored = Restored({})
        if not self.report.request.dry_run:
            writing = self.journal.restore(self.report.pass_id, [c.id for c in page])
            restored = await then_pause(writing)
        settled = restored.statuses.keys() | restored.refused.keys()
        others = {change.id for change in page} - settled - restored.untried
        standings, failure = await self._standings(others)
        failure = restored.failure or failure
        # Of a row that could not be looked at, nothing is known: it is for the next undo.
        unseen = restored.untried if standings is not None else restored.untried | others
        page = [change for change in page if change.id not in unseen]
        self.report.scanned += len(page)
        for change in page:
            if change.id in restored.statuses:
                self._count_restored(change, restored.statuses[change.id])
            elif change.id in restored.refused:
                self._count_kept(change, Kept.REFUSED, restored.refused[change.id])
            else:
                self._judge(change, (standings or {}).get(change.id))
        if failure is not None:
            raise failure

    async def _standings(
        self, of: set[int]
    ) -> tuple[Mapping[int, Standing | str] | None, Unusable | None]:
        """How these rows stand; None, and why, if the database does not tell."""
        if not of:
            return {}, None
        try:
            return await self.journal.standings(sorted(of)), None
        except Unusable as error:
            return None, error

    def _tell_what_is_not_there(self) -> None:
        if pruned := self.report.note_pruned():
            log.warning("changes_pruned", hint="they are no longer in the journal", changes=pruned)
        if self.report.unended:
            log.warning("pass_unended", hint="if it is still running, undo it again afterwards")

    def _judge(self, change: Change, standing: Standing | str | None) -> None:
        """A row that was not put back; in a dry run, that was not to be."""
        if isinstance(standing, str):
            self._count_kept(change, Kept.REFUSED, standing)
            return
        # Without a standing the change itself is gone: the journal has been pruned meanwhile.
        reason = Kept.PRUNED if standing is None else why_kept(standing)
        if reason is not None:
            self._count_kept(change, reason)
        elif self.report.request.dry_run:
            self._count_restored(change, change.old_status)
        else:
            self._count_kept(change, Kept.LOCKED)

    def _count_restored(self, change: Change, status: str) -> None:
        self.report.written[status] += 1
        event = "row_would_be_restored" if self.report.request.dry_run else "row_restored"
        log.debug(event, **_row(change), new=status, pass_id=self.report.pass_id)

    def _count_kept(self, change: Change, reason: Kept, cause: str = "") -> None:
        self.report.left[reason] += 1
        if reason is Kept.AS_BEFORE:
            return
        why = {"reason": reason.value, "cause": cause} if cause else {"reason": reason.value}
        news = self.causes.is_news(": ".join(why.values()), change.id)
        level = log.warning if news else log.debug
        level("row_left", **_row(change), **why)


def _row(change: Change) -> Mapping[str, str | None]:
    return {"row": change.row_id, "workflow_id": change.workflow_id, "run_id": change.run_id}


def _tell_the_end(report: UndoReport) -> None:
    level = log.debug if report.request.dry_run else log.info
    level(
        "pass_finished",
        pass_id=report.pass_id,
        mode=report.request.mode,
        undone=report.undone,
        outcome=report.outcome.value,
        scanned=report.scanned,
        written=dict(report.written),
        left={reason.value: count for reason, count in report.left.items()},
        seconds=round(report.duration_seconds, 3),
    )
