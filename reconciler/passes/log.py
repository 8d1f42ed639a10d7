"""The log lines of passes: one per row that is finished or cannot be judged, one at the end."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import structlog

from reconciler.core.model import Finish, Leave, LeaveReason, Mode, RunRow
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import SWEEP
from reconciler.core.text import iso
from reconciler.host.causes import Causes, in_words
from reconciler.host.steady_clock import steady

log = structlog.get_logger(__name__)


class PassLog:
    """Logs one pass after the other.

    A cause is a warning when it is new, and not again in every pass. Only the first few rows of a
    cause have a line each; one line at the end of the pass says how many more there are. The
    stretches of a round of the sweep count as one pass.
    """

    def __init__(
        self,
        *,
        each_row: bool = True,
        round_seconds: float = 0.0,
        clock: Callable[[], float] = steady,
    ) -> None:
        """`each_row`: log every row that is finished, and the counts of a pass at its end.

        Set it to false where the journal has the rows and the command prints the counts.
        `round_seconds`: passes within this time count as one, where each sees only some rows.
        """
        self._each_row, self._round_seconds, self._clock = each_row, round_seconds, clock
        self._round_began = clock()
        self._causes = Causes()
        self._bugs = Causes()
        #: Whether the operator knows what is suspicious about the table.
        self.has_reviewed = False

    def reviewed(self, report: PassReport) -> None:
        """Log the warnings about the table in a loop's first pass; commands print them."""
        self.has_reviewed = True
        for each in report.warnings if report.request.mode == Mode.RUN else ():
            log.warning("table_warning", code=each.code.value, problem=each.problem, hint=each.fix)

    def left(self, leave: Leave) -> None:
        """Log a row that is left: a warning only if it could not be judged."""
        if leave.reason is LeaveReason.OPEN:
            return
        unknown = leave.reason is LeaveReason.UNKNOWN
        news = unknown and self._causes.is_news(leave.detail or "", leave.row.id)
        level = log.warning if news else log.debug
        # A row that cannot be read has nothing but its key.
        named = {} if leave.row.workflow_id else {"row_id": str(leave.row.id)}
        level(
            "row_left",
            **named,
            workflow_id=leave.row.workflow_id,
            run_id=leave.row.run_id,
            reason=leave.reason.value,
            detail=leave.detail,
        )

    def finish(self, finish: Finish, written: Written, old: str, report: PassReport) -> None:
        """Log the write of a row: finished, refused or a lost race; `old` is the status before."""
        outcome = finish.outcome
        fields: dict[str, Any] = {
            "workflow_id": finish.row.workflow_id,
            "run_id": finish.row.run_id,
            "old": old,
            "new": outcome.status,
            "why": outcome.error_message or outcome.temporal_status,
            "closed": iso(outcome.completed_at),
            "pass_id": report.pass_id,
        }
        if cause := written.refused.get(finish.row.id):
            level = log.warning if self._causes.is_news(cause, finish.row.id) else log.debug
            level("row_refused", **fields, cause=cause)
        elif finish.row.id not in written.ids:
            log.debug("row_lost_race", **fields)
        else:
            level = log.info if self._each_row else log.debug
            level("row_would_finish" if report.request.dry_run else "row_finished", **fields)

    def breaker(self, missing: int, scanned: int, held_back: int) -> None:
        """Log that the breaker tripped: most rows are missing."""
        level = log.warning if self._causes.is_news("most rows are missing") else log.debug
        level(
            "breaker_tripped",
            hint="Temporal does not know most rows: is this the right cluster and namespace?",
            missing=missing,
            scanned=scanned,
            held_back=held_back,
        )

    def unproven_namespace(self, scanned: int, held_back: int) -> None:
        """Log that missing rows are held back since no workflow was ever found."""
        level = log.warning if self._causes.is_news("no workflow was ever found") else log.debug
        level(
            "breaker_tripped",
            hint="no pass over this table has found a workflow in this namespace yet: if it is the "
            "right one, RECONCILER_MAX_MISSING_RATIO=1 fails missing rows all the same",
            missing=held_back,
            scanned=scanned,
            held_back=held_back,
        )

    def bug(self, event: str, error: BaseException, row: RunRow | None = None) -> None:
        """Log a bug that did not end the pass: one traceback per place, not in every pass."""
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = ", ".join(f"{frame.filename}:{frame.lineno}" for frame in place)
        if not self._bugs.is_news(f"{type(error).__name__} at {where}"):
            return
        which = {} if row is None else {"workflow_id": row.workflow_id, "row_id": str(row.id)}
        log.error(event, **which, exc_info=error)

    def end(self, report: PassReport) -> None:
        """Log the end: at info only if the pass changed something, or quiet ones fill the log."""
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
            return  # it has looked at no row, so what was wrong in the pass before still is
        if report.request.found_by == SWEEP and not (report.round and report.round.ended):
            return  # the next stretch has other rows with the same causes
        if self._clock() - self._round_began < self._round_seconds:
            return
        self._round_began = self._clock()
        self._bugs.end_round()  # without a summary: each has had its line
        if beyond := self._causes.end_round():
            log.warning(
                "more_rows_left",
                rows=sum(beyond.values()),
                why=in_words(beyond),
                pass_id=report.pass_id,
            )
