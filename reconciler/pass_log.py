"""What passes say in the log: a line per row they change or cannot judge, and one at their end."""

from __future__ import annotations

from typing import Any

import structlog

from reconciler.core.model import Finish, Leave, LeaveReason, RowId
from reconciler.core.report import PassReport
from reconciler.ports import Written

#: Rows whose trouble is remembered as told; beyond that it is told again.
MAX_TOLD = 10_000

log = structlog.get_logger(__name__)


class PassLog:
    """The lines of one pass after the other.

    What is wrong is a warning when it is new, and not again in every pass: a loop would fill the
    log with rows that nobody has come round to mend.
    """

    def __init__(self, *, each_row: bool = True) -> None:
        """`each_row`: whether a row that is finished is worth a line, or the journal will do."""
        self._each_row = each_row
        self._told: dict[RowId | None, str] = {}

    def left(self, leave: Leave) -> None:
        """A row that stays as it is: worth a line only if nobody could tell why."""
        if leave.reason is LeaveReason.OPEN:
            self._told.pop(leave.row.id, None)
            return
        unknown = leave.reason is LeaveReason.UNKNOWN
        self._level(leave.row.id, leave.detail or "", wrong=unknown)(
            "left",
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
            "closed": outcome.completed_at and outcome.completed_at.isoformat(),
            "pass_id": report.pass_id,
        }
        if cause := written.refused.get(outcome.row.id):
            level = self._level(outcome.row.id, cause, wrong=True)
            level("refused by the database", **told, cause=cause)
        elif outcome.row.id not in written.ids:
            log.debug("lost race: no longer running", **told)
        else:
            level = log.info if self._each_row else log.debug
            level("would finish" if report.dry_run else "finished", **told)

    def breaker(self, missing: int, scanned: int, held_back: int) -> None:
        """Most rows are missing."""
        self._level(None, "most", wrong=True)(
            "most rows are unknown to Temporal: is this the right cluster and namespace?",
            missing=missing,
            scanned=scanned,
            held_back=held_back,
        )

    def end(self, report: PassReport) -> None:
        """One line for a pass that changed something; a quiet one would only fill the log."""
        level = log.info if report.changed and not report.dry_run else log.debug
        level(
            "pass",
            pass_id=report.pass_id,
            mode=report.mode,
            outcome=report.outcome.value,
            scanned=report.scanned,
            written=dict(report.written),
            left={reason.value: count for reason, count in report.left.items()},
            lost_races=report.lost_races,
            seconds=round(report.duration_seconds, 3),
        )

    def _level(self, of: RowId | None, why: str, *, wrong: bool) -> Any:
        """A warning if something is wrong with this row that was not told in the last pass."""
        if not wrong:
            self._told.pop(of, None)
            return log.debug
        if self._told.get(of) == why:
            return log.debug
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[of] = why
        return log.warning
