"""What passes say in the log: a line per row they change or cannot judge, and one at their end."""

from __future__ import annotations

import traceback
from typing import Any

import structlog

from reconciler.core.model import Finish, Leave, LeaveReason, RunRow
from reconciler.core.ports import Written
from reconciler.core.report import PassReport
from reconciler.core.text import iso
from reconciler.host.causes import Causes, in_words

log = structlog.get_logger(__name__)


class PassLog:
    """The lines of one pass after the other.

    What is wrong is a warning when it is new, and not again in every pass. Of each cause only the
    first few rows have a line; how many more there are is in one line at the end of the pass.
    """

    def __init__(self, *, each_row: bool = True) -> None:
        """`each_row`: log every row that is finished, and the counts of a pass at its end.

        Without it the journal has the rows, and the command prints the counts.
        """
        self._each_row = each_row
        self._causes, self._bugs = Causes(), Causes()

    def left(self, leave: Leave) -> None:
        """A row that stays as it is: worth a line only if nobody could tell why."""
        if leave.reason is LeaveReason.OPEN:
            return
        unknown = leave.reason is LeaveReason.UNKNOWN
        news = unknown and self._causes.is_news(leave.detail or "", leave.row.id)
        level = log.warning if news else log.debug
        # One that cannot be read is known by its key alone.
        named = {} if leave.row.workflow_id else {"row_id": str(leave.row.id)}
        level(
            "row_left",
            **named,
            workflow_id=leave.row.workflow_id,
            run_id=leave.row.run_id,
            reason=leave.reason.value,
            detail=leave.detail,
        )

    def finish(self, finish: Finish, written: Written, was: str, report: PassReport) -> None:
        """What became of a row that was to be finished; `was` is the status it had."""
        outcome = finish.outcome
        told: dict[str, Any] = {
            "workflow_id": outcome.row.workflow_id,
            "run_id": outcome.row.run_id,
            "old": was,
            "new": outcome.status,
            "why": outcome.error_message or outcome.temporal_status,
            "closed": iso(outcome.completed_at),
            "pass_id": report.pass_id,
        }
        if cause := written.refused.get(outcome.row.id):
            level = log.warning if self._causes.is_news(cause, outcome.row.id) else log.debug
            level("row_refused", **told, cause=cause)
        elif outcome.row.id not in written.ids:
            log.debug("row_lost_race", **told)
        else:
            level = log.info if self._each_row else log.debug
            level("row_would_finish" if report.request.dry_run else "row_finished", **told)

    def breaker(self, missing: int, scanned: int, held_back: int) -> None:
        """Most rows are missing."""
        level = log.warning if self._causes.is_news("most rows are missing") else log.debug
        level(
            "breaker_tripped",
            hint="Temporal does not know most rows: is this the right cluster and namespace?",
            missing=missing,
            scanned=scanned,
            held_back=held_back,
        )

    def bug(self, event: str, error: BaseException, row: RunRow | None = None) -> None:
        """A bug in the reconciler that ended nothing: one traceback per place, not in each pass."""
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = ", ".join(f"{frame.filename}:{frame.lineno}" for frame in place)
        if not self._bugs.is_news(f"{type(error).__name__} at {where}"):
            return
        of = {} if row is None else {"workflow_id": row.workflow_id, "row_id": str(row.id)}
        log.error(event, **of, exc_info=error)

    def end(self, report: PassReport) -> None:
        """One line for a pass that changed something; a quiet one would only fill the log."""
        self._sum_up(report)
        tally = report.tally
        shown = report.changed and not report.request.dry_run and self._each_row
        level = log.info if shown else log.debug
        level(
            "pass_finished",
            pass_id=report.pass_id,
            mode=report.request.mode,
            outcome=report.outcome.value,
            scanned=tally.scanned,
            written=dict(tally.written),
            left={reason.value: count for reason, count in tally.left.items() if count},
            lost_races=tally.lost_races,
            seconds=round(report.duration_seconds, 3),
        )

    def _sum_up(self, report: PassReport) -> None:
        if report.error is not None and not report.tally.scanned:
            return  # it has looked at nothing, so that what was wrong before still is
        self._bugs.end_round()  # each has had its line
        if beyond := self._causes.end_round():
            log.warning(
                "more_rows_left",
                rows=sum(beyond.values()),
                why=in_words(beyond),
                pass_id=report.pass_id,
            )
