"""What a pass says in the log: a line per row it changes or cannot judge, and one at its end."""

from __future__ import annotations

import structlog

from reconciler.core.model import Finish, Leave, LeaveReason
from reconciler.core.report import PassReport
from reconciler.ports import Written

log = structlog.get_logger(__name__)


def log_left(leave: Leave) -> None:
    """A row that stays as it is: worth a line only if nobody could tell why."""
    if leave.reason is LeaveReason.OPEN:
        return
    level = log.warning if leave.reason is LeaveReason.UNKNOWN else log.debug
    level(
        "left",
        workflow_id=leave.row.workflow_id,
        run_id=leave.row.run_id,
        reason=leave.reason.value,
        detail=leave.detail,
    )


def log_finish(finish: Finish, written: Written, running: str, report: PassReport) -> None:
    """What became of a row that was to be finished; `running` is the value it had."""
    outcome = finish.outcome
    event = log.bind(
        workflow_id=outcome.row.workflow_id,
        run_id=outcome.row.run_id,
        old=running,
        new=outcome.status,
        why=outcome.error_message or outcome.temporal_status,
        closed=outcome.completed_at and outcome.completed_at.isoformat(),
        pass_id=report.pass_id,
    )
    if outcome.row.id in written.refused:
        event.warning("refused by the database", cause=written.refused[outcome.row.id])
    elif outcome.row.id not in written.ids:
        event.debug("lost race: no longer running")
    else:
        event.info("would finish" if report.dry_run else "finished")


def log_pass(report: PassReport) -> None:
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
