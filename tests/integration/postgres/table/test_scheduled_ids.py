"""Workflow ids that contain a time: as Temporal's schedules write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
)

from reconciler.core.policy import StatusValues
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.integration.postgres.table.test_workflow_ids import ID, found, jobs
from tests.support.polling import eventually


async def test_a_row_composes_the_id_that_a_schedule_gives_its_workflow(
    database: Database, temporal: Client
) -> None:
    start = ScheduleActionStartWorkflow("NoWorker", id=ID, task_queue="no-workers")
    hourly = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))])
    paused = Schedule(action=start, spec=hourly, state=ScheduleState(paused=True))
    due = datetime(2026, 3, 1, 2, tzinfo=UTC)
    backfill = ScheduleBackfill(due - timedelta(minutes=1), due + timedelta(minutes=1))
    columns, row = "a uuid, b timestamptz", f"'{ID}', '{due.isoformat()}'"
    table = await jobs(database, columns, "{a}-{b}", row)

    schedule = await temporal.create_schedule(f"hourly-{ID}", paused, backfill=[backfill])
    started: list[str] = []

    async def has_started() -> bool:
        actions = [each.action for each in (await schedule.describe()).info.recent_actions]
        for action in actions:
            assert isinstance(action, ScheduleActionExecutionStartWorkflow)
            started.append(action.workflow_id)
        return bool(started)

    await eventually(has_started)
    await schedule.delete()
    await temporal.get_workflow_handle(started[0]).terminate()
    assert await found(database, table, started[0]) == 1


@pytest.mark.parametrize(
    ("local", "utc", "other"),
    [
        ("2026-03-01 02:00", "2026-03-01T07:00:00Z", "2026-03-01T02:00:00Z"),
        ("2026-07-01 02:00", "2026-07-01T06:00:00Z", "2026-07-01T07:00:00Z"),
        ("2026-11-01 01:30", "2026-11-01T06:30:00Z", "2026-11-01T05:30:00Z"),  # it occurs twice
    ],
)
async def test_a_time_without_a_zone_is_read_in_the_one_of_the_settings(
    database: Database, local: str, utc: str, other: str
) -> None:
    await jobs(database, "a timestamp", "sync-{a}", f"'{local}'")
    names = TableNames(table="jobs", workflow_id="sync-{a}")
    table = await database.table(names, StatusValues(), None, "America/New_York")

    assert await found(database, table, f"sync-{utc}") == 1
    assert await found(database, table, f"sync-{other}") == 0
