"""What a page may have to show: a full one, and the edges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from reconciler.app.explain import Explanation
from reconciler.app.overview.model import (
    AtRisk,
    DatedError,
    Hour,
    Overview,
    PassesPage,
    PassPage,
    Repaired,
    RowPage,
    Server,
    State,
    Stuck,
    Working,
)
from reconciler.core.model import Leave, LeaveReason, Open, RunRow
from reconciler.core.stuck.condition import Group, Reason, RowAtRisk
from reconciler.postgres.journal.entries import StoredChange, StoredPass, Values
from reconciler.postgres.journal.recent import Losing, LosingType
from reconciler.postgres.rows.lookup.stored import StoredRow

NOW = datetime(2026, 11, 30, 14, 3, 7, tzinfo=UTC)
PASS = UUID("6f9d1c52-0f0e-4c59-9b36-1b6a1a6cf001")
RUN = "0199c1f0-7a52-7d1e-9d8a-3f5c20b1aa11"


def before(**length: float) -> datetime:
    return NOW - timedelta(**length)


def server(name: str = "PostgreSQL", **fields: Any) -> Server:
    where = "db.internal:5432/shop" if name == "PostgreSQL" else "temporal.internal:7233, default"
    return Server(**{"name": name, "where": where, "reachable": True, **fields})


def working(state: State = State.WORKING, **fields: Any) -> Working:
    given: dict[str, Any] = {
        "state": state,
        "headline": "Working: this replica makes the repairs",
        "role": "holder",
        "holder": "reconciler-5d8f7c9b4-x2x7k/7",
        "last_good_at": before(seconds=12),
        "last_good_pass": str(PASS),
        "next_pass_at": NOW + timedelta(seconds=18),
        "servers": (server(), server("Temporal")),
        "feed": "followed",
        "feed_lag": timedelta(seconds=4),
        "errors": (),
    }
    return Working(**{**given, **fields})


ERRORS = (
    DatedError(before(seconds=9), "pass", "PostgreSQL: the connection was closed by the server"),
    DatedError(before(minutes=3), "PostgreSQL", "connection refused (db.internal:5432)"),
    DatedError(before(hours=30), "feed", "Temporal: no answer within 10 s"),
)


def change(number: int = 1, **fields: Any) -> StoredChange:
    closed = before(minutes=7 * number, seconds=3)
    given: dict[str, Any] = {
        "id": number,
        "pass_id": PASS,
        "changed_at": before(minutes=7 * number),
        "table": "workflow_executions",
        "row_id": str(4000 + number),
        "workflow_id": f"provision-tenant-{4000 + number}",
        "run_id": RUN,
        "old": Values("running", None, None),
        "new": Values("failed", closed, "create_zone: QuotaExceeded: zone limit is 50"),
        "temporal_status": "FAILED",
        "final_run_id": RUN,
        "close_time": closed,
        "found_by": "feed",
        "workflow_type": "ProvisionTenant",
    }
    return StoredChange(**{**given, **fields})


def completed(number: int) -> StoredChange:
    new = Values("completed", before(minutes=7 * number, seconds=3), None)
    fields = {"new": new, "temporal_status": "COMPLETED", "workflow_type": "ShipOrder"}
    return change(number, workflow_id=f"order/2026/{number}", **fields)


def repaired(*newest: StoredChange) -> Repaired:
    start = NOW.replace(minute=0, second=0) - timedelta(hours=23)
    counts = [0, 0, 3, 1, 0, 0, 2, 0, 14, 31, 22, 9, 4, 0, 0, 1, 2, 6, 3, 0, 0, 1, 5, 2]
    hours = tuple(
        Hour(start + timedelta(hours=number), {"failed": count, "completed": count // 3})
        if count
        else Hour(start + timedelta(hours=number), {})
        for number, count in enumerate(counts)
    )
    total = sum(sum(hour.rows.values()) for hour in hours)
    newest = newest or tuple(
        change(number) if number % 3 else completed(number) for number in range(1, 21)
    )
    statuses = ("completed", "failed")
    return Repaired(hours=hours, statuses=statuses, total=total, newest=newest)


def losing(name: str = "ProvisionTenant", **fields: Any) -> LosingType:
    given: dict[str, Any] = {
        "workflow_type": name,
        "missed": 103,
        "cut_off": 2,
        "drift_p50": timedelta(seconds=4),
        "drift_max": timedelta(minutes=11),
        "newest_at": before(minutes=7),
    }
    return LosingType(**{**given, **fields})


def losing_types(*types: LosingType) -> Losing:
    """With 21 rows that are counted for none."""
    return Losing(types, len(types), 21)


def group(reason: Reason = Reason.ACTIVITY_RETRYING, **fields: Any) -> Group:
    given: dict[str, Any] = {
        "reason": reason,
        "workflow_type": "ProvisionTenant",
        "text": "create_zone: QuotaExceeded: zone limit is N",
        "rows": 214,
        "oldest_since": before(hours=3),
        "oldest_id": "tenant-4711",
        "oldest_text": "create_zone: QuotaExceeded: zone limit is 50 (attempt 7 of 10)",
    }
    return Group(**{**given, **fields})


GROUPS = (
    group(),
    group(
        Reason.NO_WORKER,
        workflow_type="ShipOrder",
        text="no worker polls task queue shipping (workflow tasks), N wait",
        rows=61,
        oldest_since=before(minutes=25),
    ),
    group(
        Reason.WORKFLOW_TASK_FAILING,
        workflow_type="Invoice",
        text="TMPRL1100 nondeterminism error: activity type of scheduled event 'charge' does not "
        "match activity type of activity command 'charge_card'",
        rows=9,
        oldest_since=before(days=2, hours=5),
    ),
    group(
        Reason.PAUSED,
        workflow_type="Import",
        text="paused by alice: waits for N",
        rows=1,
        oldest_text="paused by alice: waits for 4711",
    ),
)


def row_at_risk(number: int = 1, **fields: Any) -> RowAtRisk:
    given: dict[str, Any] = {
        "row_id": 900 + number,
        "workflow_id": f"import-{900 + number}",
        "reason": "never_started",
        "text": "no such workflow",
        "since": before(hours=2 * number),
        "seen": before(seconds=12),
        "lost_at": NOW + timedelta(hours=5 * number),
    }
    return RowAtRisk(**{**given, **fields})


def at_risk() -> AtRisk:
    rows = (
        row_at_risk(1, lost_at=before(hours=1), reason="expired"),
        row_at_risk(2, reason="unknown", text="Temporal: PERMISSION_DENIED"),
        row_at_risk(3),
        row_at_risk(4, lost_at=None),
    )
    counts = {"never_started": 12, "unknown": 1, "expired": 1}
    return AtRisk(rows=rows, counts=counts, retention=timedelta(days=3))


def overview(**fields: Any) -> Overview:
    """A page with everything on it."""
    given: dict[str, Any] = {
        "now": NOW,
        "table": "workflow_executions",
        "namespace": "default",
        "version": "0.1.0",
        "working": working(),
        "repaired": repaired(),
        "losing": losing_types(
            losing(),
            losing("ShipOrder", missed=7, cut_off=0, drift_max=timedelta(seconds=31)),
            losing("", missed=0, cut_off=3, drift_p50=None, drift_max=None),
        ),
        "stuck": Stuck(groups=GROUPS, rows=285, groups_left_out=0, checked_at=before(minutes=4)),
        "at_risk": at_risk(),
    }
    return Overview(**{**given, **fields})


def failing() -> Overview:
    state = working(
        State.FAILING,
        headline="Running, but failing: PostgreSQL cannot be used: refused (and 1 more below)",
        servers=(server(reachable=False, since=ERRORS[1].at), server("Temporal")),
        last_good_at=before(minutes=3),
        errors=ERRORS,
    )
    away = DatedError(before(seconds=2), "PostgreSQL", "connection refused (db.internal:5432)")
    return replace(overview(working=state), unavailable=(away,), as_of=before(minutes=3, seconds=5))


def not_running() -> Overview:
    state = working(
        State.NOT_RUNNING,
        headline="Not running: no process holds the lease",
        role="waiting",
        holder=None,
        last_good_at=before(hours=9),
        next_pass_at=None,
        errors=ERRORS[2:],
    )
    return overview(working=state)


def standby() -> Overview:
    state = working(
        State.STANDBY,
        headline="On standby: reconciler-5d8f7c9b4-x2x7k/7 makes the repairs",
        role="standby",
        next_pass_at=None,
        feed="followed by the replica that makes the repairs",
        feed_lag=None,
    )
    return overview(working=state)


def starting() -> Overview:
    text = "connection refused (db.internal:5432)"
    error = DatedError(before(seconds=4), "PostgreSQL", text)
    state = working(
        State.STARTING,
        headline=f"Starting: {text}",
        role="starting",
        holder=None,
        last_good_at=None,
        last_good_pass=None,
        next_pass_at=None,
        servers=(
            server(reachable=False, since=error.at),
            server("Temporal", reachable=None),
        ),
        feed="starts with the loop",
        feed_lag=None,
        errors=(error,),
    )
    return Overview(
        now=NOW,
        table="workflow_executions",
        namespace="default",
        version="0.1.0",
        working=state,
        why_no_parts="no server was reached yet",
    )


def empty() -> Overview:
    start = NOW.replace(minute=0, second=0) - timedelta(hours=23)
    hours = tuple(Hour(start + timedelta(hours=number), {}) for number in range(24))
    return overview(
        repaired=Repaired(hours=hours, statuses=(), total=0, newest=()),
        losing=Losing((), 0, 0),
        stuck=Stuck(
            groups=(),
            rows=0,
            groups_left_out=0,
            checked_at=before(minutes=4),
            judged_every=timedelta(minutes=10),
        ),
        at_risk=AtRisk(rows=(), counts={}, retention=timedelta(days=3)),
    )


def stored_pass(number: int = 1, **fields: Any) -> StoredPass:
    started = before(seconds=30 * number)
    given: dict[str, Any] = {
        "id": UUID(int=PASS.int + number),
        "mode": "run",
        "table": "workflow_executions",
        "namespace": "default",
        "started_at": started,
        "finished_at": started + timedelta(seconds=1.4),
        "outcome": "ok",
        "error": None,
        "host": "reconciler-5d8f7c9b4-x2x7k",
        "version": "0.1.0",
        "asked": {},
        "report": {
            "duration_seconds": 1.4,
            "scanned": 1200,
            "written": {"failed": 3},
            "left": {"open": 1190},
        },
    }
    return StoredPass(**{**given, **fields})


def row_page(workflow_id: str, **fields: Any) -> RowPage:
    row = RunRow(4001, workflow_id, RUN, before(hours=4))
    stored = StoredRow(row, running=True, status="running", completed_at=None, error_message=None)
    explanation = Explanation(stored, Open(), Leave(row, LeaveReason.OPEN))
    given: dict[str, Any] = {
        "workflow_id": workflow_id,
        "now": NOW,
        "namespace": "default",
        "explanations": (explanation,),
        "changes": (change(1, workflow_id=workflow_id),),
    }
    return RowPage(**{**given, **fields})


def passes_page() -> PassesPage:
    aborted = stored_pass(2, outcome="aborted", error="Temporal: no answer", report=None)
    undone = stored_pass(3, mode="undo", asked={"undo": str(PASS)})
    running = stored_pass(0, outcome=None, finished_at=None, report=None)
    return PassesPage(now=NOW, passes=(running, stored_pass(1), aborted, undone), older="2026 a/b")


def pass_page(pass_id: UUID) -> PassPage:
    stored = stored_pass(1, id=pass_id)
    return PassPage(
        now=NOW,
        stored=stored,
        changes=(change(1), completed(3)),
        more=True,
        undo_command=f"reconciler undo {pass_id}",
    )
