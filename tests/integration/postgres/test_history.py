"""The history as a heartbeat, and that it does not grow for ever."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from reconciler.core.model import LeaveReason
from reconciler.core.report import PassReport
from reconciler.core.verdict import StatusValues
from reconciler.errors import DatabaseUnusable
from reconciler.postgres import history as module
from reconciler.postgres.history import KEEP, PassHistory
from tests.conftest import Database
from tests.polling import eventually

DAY = timedelta(days=1)


async def pass_over(
    database: Database, age: timedelta = timedelta(), error: str | None = None, unknown: int = 0
) -> str:
    """A pass that began and ended so long ago."""
    report = PassReport(str(uuid4()), "run", dry_run=False, started_at=datetime.now(UTC) - age)
    report.error, report.duration_seconds = error, 12.5
    report.left[LeaveReason.UNKNOWN] = unknown
    history = database.history()
    history._pruned_at = time.monotonic()  # or it would prune what it has just made
    await history.on_start(report)
    await history.on_pass(report)
    await database.execute(
        "UPDATE reconciler.passes SET finished_at = started_at WHERE id = $1", UUID(report.pass_id)
    )
    return report.pass_id


async def finished_at(database: Database, pass_id: str) -> object:
    (row,) = await database.fetch(
        "SELECT finished_at FROM reconciler.passes WHERE id = $1", UUID(pass_id)
    )
    return row["finished_at"]


async def test_there_is_no_heartbeat_before_the_first_pass(database: Database) -> None:
    assert await database.history().heartbeat() is None


async def test_the_heartbeat_is_the_last_pass_that_came_to_its_end(database: Database) -> None:
    await pass_over(database, age=2 * DAY)
    good = await pass_over(database, age=DAY, unknown=1)
    await pass_over(database, error="Temporal is away")

    beat = await database.history().heartbeat()

    assert beat is not None
    assert beat.finished_at == await finished_at(database, good)
    assert beat.duration == timedelta(seconds=12.5)


async def test_the_heartbeat_is_of_the_same_table_and_namespace(database: Database) -> None:
    await pass_over(database)
    engine = database.engine

    for of in [("other", "default"), ("workflow_executions", "other")]:
        assert await PassHistory(engine, *of, StatusValues()).heartbeat() is None


async def test_old_passes_that_changed_nothing_are_removed(database: Database) -> None:
    old = await pass_over(database, age=KEEP + DAY)
    changed = await pass_over(database, age=KEEP + DAY)
    recent = await pass_over(database, age=KEEP - DAY)
    await database.execute(
        "INSERT INTO reconciler.changes (pass_id, table_name, row_id, workflow_id, old_status,"
        " new_status, temporal_status) VALUES ($1, 't', '1', 'wf', 'running', 'failed', 'FAILED')",
        UUID(changed),
    )

    assert await database.history().prune() == 1
    kept = {str(row["id"]) for row in await database.fetch("SELECT id FROM reconciler.passes")}
    assert kept == {changed, recent}
    assert old not in kept


async def test_only_ones_own_are_removed(database: Database) -> None:
    await pass_over(database, age=KEEP + DAY)
    other = PassHistory(database.engine, "other", "default", StatusValues())

    assert await other.prune() == 0
    assert await database.history().prune() == 1


async def test_the_heartbeat_is_the_last_one_by_the_databases_clock(database: Database) -> None:
    ahead = await pass_over(database, age=-2 * DAY)
    await database.execute(
        "UPDATE reconciler.passes SET finished_at = now() - interval '1 hour' WHERE id = $1",
        UUID(ahead),
    )
    last = await pass_over(database)

    beat = await database.history().heartbeat()

    assert beat is not None
    assert beat.finished_at == await finished_at(database, last)
    assert timedelta() <= beat.read_at - beat.finished_at < timedelta(minutes=1)


async def test_the_heartbeat_is_found_by_its_index(database: Database) -> None:
    await database.execute(
        "INSERT INTO reconciler.passes (id, mode, started_at, finished_at, outcome, report, host,"
        " version, table_name, namespace) SELECT gen_random_uuid(), 'run', now(), now(), 'ok',"
        " '{\"duration_seconds\": 1}', 'h', 'v', 'workflow_executions', 'default'"
        " FROM generate_series(1, 5000)"
    )
    await database.execute("ANALYZE reconciler.passes")

    async def index_was_used() -> bool:
        await database.history().heartbeat()
        return await database.fetch(
            "SELECT idx_scan > 0 AS used FROM pg_stat_user_indexes"
            " WHERE indexrelname = 'passes_heartbeat'"
        ) == [{"used": True}]

    await eventually(index_was_used)


@pytest.mark.parametrize("error", ["Temporal is away", None])
async def test_after_a_pass_that_failed_nothing_is_removed(
    database: Database, error: str | None
) -> None:
    await pass_over(database, age=KEEP + DAY)
    report = PassReport(str(uuid4()), "run", dry_run=False, started_at=datetime.now(UTC))
    report.error = error
    await database.history().on_start(report)
    await database.history().on_pass(report)

    assert len(await database.fetch("SELECT 1 FROM reconciler.passes")) == (2 if error else 1)


async def test_a_history_that_cannot_be_pruned_makes_no_good_pass_a_bad_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = database.history()

    async def fail() -> int:
        raise DatabaseUnusable("lock timeout")

    monkeypatch.setattr(history, "prune", fail)
    report = PassReport(str(uuid4()), "run", dry_run=False, started_at=datetime.now(UTC))
    await history.on_start(report)
    await history.on_pass(report)

    assert report.error is None


async def test_pruning_is_looked_after_once_an_hour(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = database.history()
    asked = 0

    async def prune() -> int:
        nonlocal asked
        asked += 1
        return 0

    monkeypatch.setattr(history, "prune", prune)
    for _ in range(3):
        report = PassReport(str(uuid4()), "run", dry_run=False, started_at=datetime.now(UTC))
        await history.on_start(report)
        await history.on_pass(report)

    assert asked == 1


async def test_a_pass_by_a_clock_that_is_days_behind_is_not_taken_for_an_old_one(
    database: Database,
) -> None:
    report = PassReport(
        str(uuid4()), "run", dry_run=False, started_at=datetime.now(UTC) - KEEP - DAY
    )
    await database.history().on_start(report)
    await database.history().on_pass(report)

    assert await database.history().heartbeat() is not None


async def test_a_pass_that_was_killed_long_ago_is_removed(database: Database) -> None:
    killed = await pass_over(database, age=KEEP + DAY)
    await database.execute(
        "UPDATE reconciler.passes SET finished_at = NULL WHERE id = $1", UUID(killed)
    )

    assert await database.history().prune() == 1


async def test_however_many_there_are_they_are_removed_batch_by_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_BATCH", 2)
    for _ in range(3):
        await pass_over(database, age=KEEP + DAY)

    assert await database.history().prune() == 3
    assert await database.fetch("SELECT 1 FROM reconciler.passes") == []
