"""Undoing a pass: go through its changes, newest first, and restore rows that are as it left them.

An undo is a pass, too: recorded, journalled, and undone by the same command. It does not ask
Temporal. It can be killed at any point and run again: it then skips what it has restored before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.ports import History
from reconciler.core.report.sweep import Swept
from reconciler.core.text import or_null
from reconciler.core.undo import (
    Change,
    RestoreResult,
    RowState,
    SkipReason,
    UndoReport,
    why_skipped,
)
from reconciler.host.causes import Causes, in_words
from reconciler.passes.lifecycle import finish_despite_cancel, run_recorded
from reconciler.passes.settle import then_pause

#: Skipped rows that get a log line each, per cause; the others are only counted.
MAX_LINES = 20

log = structlog.get_logger(__name__)


class Journal(Protocol):
    """The changes of passes. Every method is a short transaction of its own."""

    async def page(self, pass_id: str, before: int | None, limit: int) -> Sequence[Change]:
        """The next changes of a pass, newest first: those with an id below `before`.

        Each is of another row.
        """
        ...

    async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
        """Restore, and journal, the rows of these changes that are as the pass left them."""
        ...

    async def row_states(self, of: Sequence[int]) -> Mapping[int, RowState | str]:
        """The states of the rows of these changes; for a row that cannot be read, why."""
        ...


async def run_undo(
    journal: Journal, history: History, report: UndoReport, batch_size: int
) -> UndoReport:
    """Undo the pass `report.undone`; always returns the report.

    Cancelled, it stops after the statement under way; cancelled again, it gives up the statement.
    """
    causes = Causes(MAX_LINES)
    await run_recorded(report, history, partial(_Undo(journal, report, causes).run, batch_size))
    if beyond := causes.end_round():
        log.warning("more_rows_left", rows=sum(beyond.values()), why=in_words(beyond))
    _log_end(report)
    return report


@dataclass(frozen=True, slots=True)
class _Undo:
    journal: Journal
    report: UndoReport
    causes: Causes

    async def run(self, batch_size: int, _: Swept | None) -> None:
        """Undo every change of the pass, a page at a time."""
        before: int | None = None
        while not self.report.stopped:
            page = await self.journal.page(self.report.undone, before, batch_size)
            if not page:
                self._report_incomplete()
                return
            undoing = asyncio.create_task(self._undo(page))
            await finish_despite_cancel(self.report, undoing)
            before = page[-1].id

    async def _undo(self, page: Sequence[Change]) -> None:
        restored = RestoreResult({})
        if not self.report.request.dry_run:
            writing = self.journal.restore(self.report.pass_id, [change.id for change in page])
            restored = await then_pause(writing)
        failure = restored.failure
        unseen = restored.untried
        others = {change.id for change in page} - restored.statuses.keys()
        others -= restored.refused.keys() | unseen
        states: Mapping[int, RowState | str] = {}
        try:
            if others:
                states = await self.journal.row_states(sorted(others))
        except Unusable as error:
            failure = failure or error
            unseen |= others  # not counted: the next undo finds them
        page = [change for change in page if change.id not in unseen]
        self.report.scanned += len(page)
        for change in page:
            if change.id in restored.statuses:
                self._count_restored(change, restored.statuses[change.id])
            elif change.id in restored.refused:
                self._count_skipped(change, SkipReason.REFUSED, restored.refused[change.id])
            else:
                self._judge(change, states.get(change.id))
        if failure is not None:
            raise failure

    def _report_incomplete(self) -> None:
        """Count and log changes that the undo could not find."""
        if pruned := self.report.count_pruned():
            log.warning("changes_pruned", hint="they are no longer in the journal", changes=pruned)
        if self.report.unended:
            log.warning("pass_unended", hint="if it is still running, undo it again afterwards")

    def _judge(self, change: Change, state: RowState | str | None) -> None:
        """Count a row that was not restored; in a dry run, decide whether it would be."""
        if isinstance(state, str):
            self._count_skipped(change, SkipReason.REFUSED, state)
            return
        # Without a state the change itself is gone: the journal has been pruned meanwhile.
        reason = SkipReason.PRUNED if state is None else why_skipped(state)
        if reason is not None:
            self._count_skipped(change, reason)
        elif self.report.request.dry_run:
            self._count_restored(change, or_null(change.old_status))
        else:
            self._count_skipped(change, SkipReason.LOCKED)

    def _count_restored(self, change: Change, status: str) -> None:
        self.report.written[status] += 1
        event = "row_would_be_restored" if self.report.request.dry_run else "row_restored"
        log.debug(event, **_row(change), new=status, pass_id=self.report.pass_id)

    def _count_skipped(self, change: Change, reason: SkipReason, cause: str = "") -> None:
        self.report.left[reason] += 1
        if reason is SkipReason.AS_BEFORE:
            return
        why = {"reason": reason.value, "cause": cause} if cause else {"reason": reason.value}
        news = self.causes.is_news(": ".join(why.values()), change.id)
        level = log.warning if news else log.debug
        level("row_left", **_row(change), **why)


def _row(change: Change) -> Mapping[str, str | None]:
    return {"row": change.row_id, "workflow_id": change.workflow_id, "run_id": change.run_id}


def _log_end(report: UndoReport) -> None:
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
