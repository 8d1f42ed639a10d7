"""Passes that ran some time ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from reconciler.core.model import LeaveReason
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.postgres.journal.history import PassHistory
from tests.conftest import Database

DAY = timedelta(days=1)
#: The table and the namespace of `Database.history()`.
OURS = ("workflow_executions", "default")


async def pass_over(
    database: Database,
    age: timedelta = timedelta(),
    *,
    mode: str = "run",
    error: str | None = None,
    unknown: int = 0,
    swept: Swept | None = None,
    of: tuple[str, str] = OURS,
) -> str:
    """Record a pass that began and ended this long ago; returns its id."""
    report = PassReport(str(uuid4()), PassRequest(mode), started_at=datetime.now(UTC) - age)
    report.error, report.duration_seconds, report.swept = error, 12.5, swept
    report.done.left[LeaveReason.UNKNOWN] = unknown
    history = PassHistory(database.engine, *of, StatusValues())
    await history.begin(report)
    await history.end(report)
    await database.execute(
        "UPDATE reconciler.passes SET finished_at = started_at WHERE id = $1", UUID(report.pass_id)
    )
    return report.pass_id


async def change(database: Database, pass_id: str, changes: int = 1) -> None:
    """Record this many changes of a pass."""
    await database.execute(
        "INSERT INTO reconciler.changes (pass_id, table_name, row_id, workflow_id, old_status,"
        " new_status, temporal_status)"
        " SELECT $1, 't', '1', 'wf', 'running', 'failed', 'FAILED' FROM generate_series(1, $2)",
        UUID(pass_id),
        changes,
    )


async def passes_of_the_feed(
    database: Database, count: int, until: timedelta = timedelta()
) -> None:
    """Record one per minute up to this long ago, each with a change."""
    await database.execute(
        "INSERT INTO reconciler.passes (id, mode, started_at, finished_at, outcome, report, host,"
        " version, table_name, namespace) SELECT gen_random_uuid(), 'feed', at, at, 'ok',"
        " '{\"duration_seconds\": 1, \"found_in\": [\"here\"]}', 'h', 'v', $2, $3"
        " FROM (SELECT now() - $4::interval - n * interval '1 minute' AS at"
        " FROM generate_series(1, $1) n) s",
        count,
        *OURS,
        until,
    )
    await database.execute(
        "INSERT INTO reconciler.changes (pass_id, table_name, row_id, workflow_id, old_status,"
        " new_status, temporal_status)"
        " SELECT id, 't', '1', 'wf', 'running', 'failed', 'FAILED'"
        " FROM reconciler.passes WHERE mode = 'feed'"
    )


async def kept(database: Database) -> set[str]:
    """The ids of the passes that still exist."""
    return {str(row["id"]) for row in await database.fetch("SELECT id FROM reconciler.passes")}
