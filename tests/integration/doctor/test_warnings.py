"""What works and will cause trouble: lost outcomes, clocks, other passes over the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse
from temporalio.client import Client

from reconciler.core.errors import FeedOff
from reconciler.doctor.findings import Finding, Level
from reconciler.postgres.journal.lease import PostgresLease
from reconciler.temporal.observe.closings import VisibilityClosings
from tests.integration.doctor.conftest import Patient, assert_found, levels
from tests.support.network.frontend import frontend
from tests.support.tables.past import pass_over, passes_of_the_feed
from tests.support.temporal.world import World


async def test_an_outcome_that_is_about_to_be_lost(
    patient: Patient, temporal: Client, workflow_id: str
) -> None:
    handle = await temporal.start_workflow("Scripted", id=workflow_id, task_queue="nobody")
    await handle.terminate("end")
    yesterday = datetime.now(UTC) - timedelta(hours=20)
    run_id = handle.first_execution_run_id
    await patient.database.insert(workflow_id, run_id, created_at=yesterday)

    found = await patient.findings(Level.WARNING)

    assert found["oldest row"].level is Level.WARNING
    assert "1 ended, and Temporal forgets how in 24 h" in found["oldest row"].message
    assert "reconciler once" in found["oldest row"].fix


async def test_outcomes_that_are_lost(patient: Patient, workflow_id: str) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=400)
    await patient.database.insert(workflow_id, None, created_at=long_ago)

    await assert_found(
        patient, "oldest row", Level.WARNING, "1 not in Temporal", "reconciler backfill"
    )


async def test_workflows_in_two_clusters(
    patient: Patient, temporal: Client, workflow_id: str
) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    rows = patient.database
    await rows.insert(f"{workflow_id}-there", str(uuid4()), created_at=an_hour_ago)
    for number in range(2):
        handle = await temporal.start_workflow(
            "Scripted", id=f"{workflow_id}-{number}", task_queue="nobody"
        )
        run_id = handle.first_execution_run_id
        await rows.insert(handle.id, run_id, created_at=an_hour_ago)
    await rows.insert("too young to be asked about", str(uuid4()))

    found = [each for each in (await patient.examine()).findings if each.check == "namespace"]

    assert [each.level for each in found] == [Level.OK, Level.WARNING]
    assert found[1].message.startswith("1 of 3 running rows with run ids")
    assert "RECONCILER_WHERE" in found[1].fix


async def test_only_the_oldest_rows_are_looked_up(patient: Patient, world: World) -> None:
    row = world.row(await world.start("wait"))
    await patient.database.insert_many(15, row.workflow_id, row.run_id)
    await patient.database.execute(
        "UPDATE workflow_executions SET created_at = now() - interval '3 days'"
    )
    long_ago = datetime.now(UTC) - timedelta(days=400)
    await patient.database.insert(f"{row.workflow_id}-gone", None, created_at=long_ago)

    found = await patient.findings(Level.WARNING)

    assert "of the oldest 10, 1 not in Temporal" in found["oldest row"].message


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(timedelta(seconds=30), Level.WARNING), (timedelta(minutes=10), Level.FAILURE)],
    ids=["ahead", "ahead by more than the grace"],
)
async def test_a_host_whose_clock_is_wrong(
    patient: Patient, ahead: timedelta, level: Level
) -> None:
    patient.ahead = ahead

    await assert_found(patient, "clock", level, "ahead of the database's", "NTP")


async def test_ages_go_by_the_databases_clock(patient: Patient) -> None:
    patient.ahead = timedelta(days=400)
    await patient.database.insert("wf", None)
    await pass_over(patient.database)

    found = await patient.findings(Level.FAILURE)

    assert found["clock"].level is Level.FAILURE
    assert levels(found, ("oldest row", "passes")) == {Level.OK}
    assert " d ago" not in found["passes"].message


async def test_a_temporal_whose_clock_is_ahead(
    patient: Patient, temporal: Client, workflow_id: str
) -> None:
    handle = await temporal.start_workflow("Scripted", id=workflow_id, task_queue="nobody")
    await patient.database.insert(workflow_id, handle.first_execution_run_id)
    patient.ahead = timedelta(minutes=-5)

    found = await patient.findings(Level.WARNING)

    assert found["temporal clock"].level is Level.WARNING
    assert "min ahead of this host's" in found["temporal clock"].message
    await handle.terminate("end of test")


async def test_a_loop_of_another_namespace_on_the_same_table(patient: Patient) -> None:
    lease = PostgresLease(patient.database.engine, "workflow_executions", "staging", "web-1/7/ab")
    await lease.claim(timedelta(hours=1))

    await assert_found(
        patient, "lease", Level.WARNING, "'staging' (web-1/7/ab)", "check TEMPORAL_NAMESPACE"
    )


async def test_closings_that_are_not_listed(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> object:
        raise FeedOff("Temporal does not list closings (UNIMPLEMENTED)")

    monkeypatch.setattr(VisibilityClosings, "read", refuse)

    await assert_found(patient, "feed", Level.WARNING, "UNIMPLEMENTED", "passes over every row")


async def test_a_feed_that_is_polled_too_often_for_the_limit(patient: Patient) -> None:
    patient.settings |= {"feed_interval": "1s", "visibility_rps": 2}

    await assert_found(patient, "feed", Level.WARNING, "5 list calls", "to 5, or")


async def test_a_last_pass_that_was_aborted(patient: Patient) -> None:
    await pass_over(patient.database, error="Temporal is unreachable: check TEMPORAL_ADDRESS")

    await assert_found(patient, "passes", Level.WARNING, "aborted: Temporal is", "see its log")


async def test_a_last_pass_that_was_aborted_however_many_of_the_feed_have_written_since(
    patient: Patient,
) -> None:
    await pass_over(patient.database, timedelta(hours=3), error="Temporal is unreachable")
    await passes_of_the_feed(patient.database, 150)

    await assert_found(patient, "passes", Level.WARNING, "aborted: Temporal is", "see its log")


async def test_a_running_value_that_no_row_has(patient: Patient) -> None:
    patient.settings |= {"statuses": {"running": "runing"}}
    await patient.database.execute("DROP INDEX reconciler_workflow_executions_running")
    await patient.database.execute("CREATE INDEX ON workflow_executions (status, id)")
    found = await patient.findings(Level.OK)
    assert found["statuses"].message == "there are no rows yet"
    await patient.database.insert("done", status="completed")
    found = await patient.findings(Level.OK)
    assert found["statuses"].message == "completed (1)"

    await patient.database.insert("w", "run")
    (unmapped,) = await findings_of(patient, "statuses")
    await patient.database.execute("DELETE FROM workflow_executions WHERE workflow_id = 'done'")
    (none,) = await findings_of(patient, "statuses")

    assert unmapped.message.endswith("statuses that no setting names: running (1)")
    assert none.message.startswith("no row has the status runing, or another that a setting names")
    assert none.fix.startswith("set RECONCILER_STATUSES__RUNNING")


async def test_an_empty_default_table_beside_others(patient: Patient) -> None:
    await patient.database.execute("CREATE TABLE jobs (id int, temporal_workflow_id text)")

    await assert_found(
        patient,
        "statuses",
        Level.WARNING,
        "table workflow_executions has no rows, and jobs has a column like workflow_id",
        "set RECONCILER_TABLE to the one with your workflows, or to workflow_executions if that",
    )
    patient.settings["table"] = "workflow_executions"
    await patient.findings(Level.OK)
    del patient.settings["table"]
    await patient.database.insert("w")
    await patient.findings(Level.OK)


async def test_rows_without_run_ids_and_no_index_on_the_workflow_id(patient: Patient) -> None:
    database = patient.database
    await database.execute("DROP INDEX ix_workflow_executions_workflow_id")
    await database.insert("w", "run", created_at=datetime.now(UTC) - timedelta(hours=1))
    await database.insert("w")
    assert await findings_of(patient, "index") == []

    await database.insert("w", created_at=datetime.now(UTC) - timedelta(hours=1))
    (found,) = await findings_of(patient, "index")

    assert "rows without a run id" in found.message
    await database.execute(found.fix)
    assert await findings_of(patient, "index") == []


async def test_the_index_is_missed_where_there_is_no_column_of_run_ids(patient: Patient) -> None:
    patient.settings["columns"] = {"run_id": ""}
    assert await findings_of(patient, "index") == []

    await patient.database.execute("DROP INDEX ix_workflow_executions_workflow_id")

    assert len(await findings_of(patient, "index")) == 1


async def findings_of(patient: Patient, check: str) -> list[Finding]:
    """The warnings of a check."""
    findings = (await patient.examine()).findings
    return [each for each in findings if each.check == check and each.level is Level.WARNING]


async def test_a_server_that_is_too_old(patient: Patient) -> None:
    async with frontend() as old:
        old.answers["GetSystemInfo"] = lambda _: GetSystemInfoResponse(server_version="1.24.2")
        patient.temporal = {"target_host": old.address, "namespace": "default"}

        found = await patient.findings(Level.WARNING)

    assert found["temporal"].level is Level.WARNING
    assert found["temporal"].message == (
        f"Temporal 1.24.2 at {old.address} is older than 1.28, and does not report everything a "
        "pass needs"
    )
    assert found["temporal"].fix == "upgrade Temporal to 1.28 or newer (docs/temporal.md)"
