"""The history as a heartbeat: the last pass that came to its end. And what it says of others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.core.verdict import StatusValues
from reconciler.postgres.journal.history import PassHistory
from tests.conftest import Database
from tests.support.polling import eventually
from tests.support.tables.past import DAY, change, pass_over


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
    assert beat.pass_id == good


async def test_the_heartbeat_is_of_the_same_table_and_namespace(database: Database) -> None:
    await pass_over(database)
    engine = database.engine

    for of in [("other", "default"), ("workflow_executions", "other")]:
        assert await PassHistory(engine, *of, StatusValues()).heartbeat() is None


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


async def test_a_pass_from_before_the_databases_clock_was_set_back_is_no_heartbeat(
    database: Database,
) -> None:
    await pass_over(database, age=-5 * DAY)
    assert await database.history().heartbeat() is None

    last = await pass_over(database)
    beat = await database.history().heartbeat()

    assert beat is not None
    assert beat.finished_at == await finished_at(database, last)


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


@pytest.mark.parametrize("mode", ["backfill", "undo"])
async def test_the_heartbeat_is_of_passes_over_every_row(database: Database, mode: str) -> None:
    once = await pass_over(database, age=2 * DAY, mode="once")
    await pass_over(database, age=DAY, mode=mode)

    beat = await database.history().heartbeat()

    assert beat is not None
    assert beat.finished_at == await finished_at(database, once)


@pytest.mark.parametrize("cut_off", [True, False])
async def test_a_pass_that_was_cut_off_has_written_what_its_journal_says(
    database: Database, cut_off: bool
) -> None:
    """It may have been stopped, or have lost its connection, while a write was under way."""
    history = database.history()
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=datetime.now(UTC))
    await history.on_start(report)
    await change(database, report.pass_id, 3)
    report.tally.written["failed"] = 1
    report.error = "stopped before its end" if cut_off else None

    await history.on_pass(report)

    assert report.tally.written["failed"] == (3 if cut_off else 1)
    (row,) = await database.fetch("SELECT report FROM reconciler.passes")
    assert json.loads(str(row["report"]))["written"]["failed"] == report.tally.written["failed"]


async def test_what_an_undo_has_put_back_is_in_the_journal_too(database: Database) -> None:
    history = database.history()
    report = UndoReport(str(uuid4()), PassRequest("undo"), started_at=datetime.now(UTC))
    await history.on_start(report)
    await change(database, report.pass_id, 2)
    report.stop()

    await history.on_pass(report)

    assert report.written == {"failed": 2}
