"""A setup that works: every check runs, none finds a problem, and nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.doctor.checks.database import DatabaseChecks
from reconciler.doctor.findings import Level
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.diagnose.read_plan import IndexState, plan_page
from reconciler.postgres.journal.lease import PostgresLease
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.integration.doctor.conftest import Patient
from tests.support.tables.past import pass_over
from tests.support.temporal.world import World

CHECKS = [
    *("database", "pooler", "clock", "table", "privileges", "statuses", "index", "schema"),
    *("lease", "passes"),
    *("temporal", "namespace", "codec", "feed", "oldest row", "temporal clock"),
]


async def test_every_check_is_ok(patient: Patient, world: World) -> None:
    # A queue without workers: when those of others report their plugins is not known.
    row = world.row(await world.start("wait", task_queue=world.workflow_id))
    await patient.database.insert(row.workflow_id, row.run_id)
    await pass_over(patient.database)

    found = await patient.findings(Level.OK)

    assert list(found) == CHECKS
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert "PostgreSQL 1" in found["database"].message
    assert "round trip" in found["database"].message
    assert "Temporal 1." in found["temporal"].message
    assert "1 running row, " in found["oldest row"].message
    assert "one running workflow started" in found["temporal clock"].message


async def test_without_rows_temporals_clock_is_not_measurable(patient: Patient) -> None:
    found = await patient.findings(Level.OK)

    assert found["temporal clock"].level is Level.SKIPPED
    assert "not measurable" in found["temporal clock"].message


async def test_a_row_without_a_run_id_does_not_show_temporals_clock(
    patient: Patient, world: World
) -> None:
    """Its workflow id may have been used by an earlier or a later workflow."""
    row = world.row(await world.start("wait"))
    await patient.database.insert(row.workflow_id, None)

    found = await patient.findings(Level.OK)

    assert found["temporal clock"].level is Level.SKIPPED


async def test_the_settings_are_listed(patient: Patient, temporal_address: str) -> None:
    patient.settings["batch_size"] = 7

    shown = {each.name: each.value for each in (await patient.examine()).settings}

    assert shown["RECONCILER_BATCH_SIZE"] == "7"
    assert shown["TEMPORAL_ADDRESS"] == temporal_address


async def test_a_running_loop_is_named_and_ok(patient: Patient) -> None:
    lease = PostgresLease(patient.database.engine, "workflow_executions", "default", "web-1/7/ab")
    await lease.claim(timedelta(hours=1))

    assert "web-1/7/ab" in (await patient.findings(Level.OK))["lease"].message


async def test_an_old_row_whose_workflow_is_open_is_ok(patient: Patient, world: World) -> None:
    row = world.row(await world.start("wait"))
    long_ago = datetime.now(UTC) - timedelta(days=3)
    await patient.database.insert(row.workflow_id, row.run_id, created_at=long_ago)

    found = await patient.findings(Level.WARNING)

    assert found["oldest row"].level is Level.OK
    assert found["temporal clock"].level is Level.WARNING, "it started three days after its row"


@pytest.mark.parametrize("rows", [3, 2000])
async def test_the_index_is_usable_however_few_rows_there_are(
    database: Database, rows: int
) -> None:
    """Where all rows are running, the primary key's index is as good and as large."""
    await database.insert_many(rows, "wf", None)
    await database.execute("ANALYZE workflow_executions")

    plan = await plan_page(database.engine, await database.table(), 500)

    assert plan.index is IndexState.THERE
    assert plan.servable


async def test_a_large_table_with_few_running_rows_is_read_by_the_index(database: Database) -> None:
    await database.insert_many(5000, "wf", None)
    await database.execute(
        "UPDATE workflow_executions SET status = 'failed' WHERE id % 100 <> 0;"
        " ANALYZE workflow_executions"
    )

    plan = await plan_page(database.engine, await database.table(), 500)

    assert plan.served
    assert "reconciler_workflow_executions_running" in plan.scans


async def test_an_index_of_the_application_is_enough(database: Database) -> None:
    await database.insert_many(3000, "wf", None)
    await database.execute(
        "UPDATE workflow_executions SET status = 'failed' WHERE id % 100 <> 0;"
        " DROP INDEX reconciler_workflow_executions_running;"
        " CREATE INDEX ON workflow_executions (status, id); ANALYZE workflow_executions"
    )

    plan = await plan_page(database.engine, await database.table(), 500)

    assert plan.index is IndexState.MISSING
    assert plan.served


async def test_no_check_can_write(database: Database) -> None:
    checks = DatabaseChecks(
        database.engine,
        Settings(database_url=database.url),
        "default",
        lambda: datetime.now(UTC),
    )

    with pytest.raises(DatabaseUnusable, match="read-only transaction"), translated("write"):
        async with checks.engine.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM workflow_executions")
