"""Set-ups that are broken in one way each: the right finding, its level, and how to mend it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client

from reconciler.doctor.findings import Level
from reconciler.keeper import LEASE_TIME
from reconciler.postgres.lease import Lease
from reconciler.settings.table import Columns, Statuses
from tests.integration.doctor.conftest import Found, Patient
from tests.integration.postgres.past import pass_over
from tests.silent import silent_server
from tests.world import World

SECRET = "s3cret"
#: What is said of the database's side, and of Temporal's.
DATABASE = ("database", "pooler", "clock", "table", "privileges", "index", "schema", "lease")
TEMPORAL = ("temporal", "namespace")
BOTH = ("oldest row", "temporal clock")


def levels(found: Found, checks: tuple[str, ...]) -> set[Level]:
    return {found[check].level for check in checks}


async def assert_found(patient: Patient, check: str, level: Level, told: str, mend: str) -> Found:
    """One thing is wrong, and nothing else is said to be."""
    found = await patient.findings(level)
    finding = found[check]
    assert finding.level is level, found
    assert told in finding.message
    assert mend in finding.mend
    worse = {name for name, each in found.items() if each.level in (Level.WARNING, Level.FAILURE)}
    assert worse == {check}
    return found


async def test_a_database_that_is_down(patient: Patient) -> None:
    patient.settings["database_url"] = f"postgresql://app:{SECRET}@127.0.0.1:1/app"

    found = await assert_found(
        patient, "database", Level.FAILURE, "unreachable", "check DATABASE_URL"
    )

    assert levels(found, (*DATABASE[1:], *BOTH)) == {Level.SKIPPED}
    assert levels(found, TEMPORAL) == {Level.OK}, "it is checked all the same"
    assert SECRET not in str((await patient.examine()).as_json())


async def test_a_wrong_password(patient: Patient) -> None:
    async with _refusing("28P01", 'password authentication failed for user "app"') as port:
        patient.settings["database_url"] = f"postgresql://app:{SECRET}@127.0.0.1:{port}/app"

        found = await assert_found(
            patient, "database", Level.FAILURE, "password authentication", "check DATABASE_URL"
        )

    assert levels(found, DATABASE[1:]) == {Level.SKIPPED}
    assert SECRET not in str((await patient.examine()).as_json())


async def test_temporal_that_is_down(patient: Patient) -> None:
    patient.temporal["target_host"] = "127.0.0.1:1"

    found = await assert_found(
        patient, "temporal", Level.FAILURE, "unreachable", "check TEMPORAL_ADDRESS"
    )

    assert levels(found, ("namespace", *BOTH)) == {Level.SKIPPED}
    assert levels(found, DATABASE) == {Level.OK}, "it is checked all the same"


async def test_an_address_that_is_none(patient: Patient) -> None:
    patient.temporal["target_host"] = "no address"

    found = await assert_found(patient, "temporal", Level.FAILURE, "no address", "TEMPORAL")

    assert levels(found, DATABASE) == {Level.OK}


async def test_both_sides_that_are_down_are_both_told(patient: Patient) -> None:
    patient.settings["database_url"] = "postgresql://127.0.0.1:1/app"
    patient.temporal["target_host"] = "127.0.0.1:1"

    found = await patient.findings(Level.FAILURE)

    assert [name for name, each in found.items() if each.level is Level.FAILURE] == [
        "database",
        "temporal",
    ]


async def test_servers_that_are_silent_are_given_up_at_the_same_time(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.postgres.engine.CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr("reconciler.temporal.connect.CONNECT_TIMEOUT", timedelta(seconds=0.5))
    async with silent_server() as silent:
        patient.settings["database_url"] = f"postgresql://app@127.0.0.1:{silent.port}/app"
        patient.temporal["target_host"] = f"127.0.0.1:{silent.port}"

        found = await patient.findings(Level.FAILURE)

    assert "did not answer in time" in found["database"].message
    assert "did not answer within" in found["temporal"].message
    assert levels(found, (*DATABASE[1:], *BOTH)) == {Level.SKIPPED}


async def test_a_namespace_that_is_not_there(patient: Patient) -> None:
    patient.temporal["namespace"] = "nowhere"

    found = await assert_found(
        patient, "namespace", Level.FAILURE, "no namespace 'nowhere'", "set TEMPORAL_NAMESPACE"
    )

    assert found["temporal"].level is Level.OK
    assert levels(found, BOTH) == {Level.SKIPPED}


async def test_a_table_that_is_not_there(patient: Patient) -> None:
    patient.settings["table"] = "orders"

    found = await assert_found(
        patient, "table", Level.FAILURE, "no table orders", "set RECONCILER_TABLE"
    )

    assert levels(found, ("privileges", "index", *BOTH)) == {Level.SKIPPED}
    assert found["schema"].level is Level.OK


async def test_a_column_of_another_name(patient: Patient) -> None:
    patient.settings["columns"] = Columns(run_id="first_run")

    await assert_found(
        patient, "table", Level.FAILURE, "no column first_run", "RECONCILER_COLUMNS__"
    )


async def test_a_view_in_place_of_a_table(patient: Patient) -> None:
    await patient.database.execute("CREATE VIEW orders AS SELECT * FROM workflow_executions")
    patient.settings["table"] = "orders"

    found = await patient.findings(Level.FAILURE)

    assert found["table"].level is Level.FAILURE
    assert "RECONCILER_" in found["table"].message + found["table"].mend


async def test_rights_that_are_missing_on_the_table(patient: Patient, role: str) -> None:
    await patient.database.execute(
        f"GRANT USAGE ON SCHEMA reconciler TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler TO {role};"
        f"GRANT SELECT ON workflow_executions TO {role}"
    )

    found = await assert_found(
        patient, "privileges", Level.FAILURE, f"role {role} may not", "GRANT UPDATE (status)"
    )

    assert levels(found, ("table", "index", "oldest row")) == {Level.OK}, "they only read"
    await patient.database.execute(found["privileges"].mend)
    await patient.findings(Level.OK)


async def test_rights_that_are_missing_on_our_schema(patient: Patient, role: str) -> None:
    await patient.database.execute(f"GRANT SELECT, UPDATE ON workflow_executions TO {role}")

    found = await assert_found(
        patient, "schema", Level.FAILURE, f"role {role} may not use schema", "GRANT USAGE"
    )

    assert levels(found, ("lease", "passes")) == {Level.SKIPPED}
    await patient.database.execute(found["schema"].mend)
    found = await assert_found(
        patient, "schema", Level.WARNING, "`once` may use it, `run`", "reconciler.lease"
    )
    assert (found["lease"].level, found["passes"].level) == (Level.SKIPPED, Level.OK)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP SCHEMA reconciler CASCADE", "is not there"),
        ("UPDATE reconciler.alembic_version SET version_num = '0001'", "at revision 0001"),
        ("UPDATE reconciler.alembic_version SET version_num = '0999'", "knows no more than"),
    ],
    ids=["not migrated", "behind", "ahead"],
)
async def test_a_schema_of_another_version(patient: Patient, change: str, told: str) -> None:
    await patient.database.execute(change)

    found = await assert_found(patient, "schema", Level.FAILURE, told, "run ")

    assert levels(found, ("lease", "passes")) == {Level.SKIPPED}


INVALID = (
    "UPDATE pg_index SET indisvalid = false"
    " WHERE indexrelid = 'reconciler_workflow_executions_running'::regclass"
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP INDEX reconciler_workflow_executions_running", "is missing"),
        (INVALID, "is invalid"),
    ],
    ids=["missing", "invalid"],
)
async def test_an_index_that_does_not_serve(patient: Patient, change: str, told: str) -> None:
    await patient.database.insert_many(3, "wf", None)
    await patient.database.execute(change)

    await assert_found(patient, "index", Level.WARNING, told, "reconciler migrate")


async def test_an_index_for_another_status(patient: Patient) -> None:
    patient.settings["statuses"] = Statuses(running="pending")

    await assert_found(patient, "index", Level.WARNING, "status value", "reconciler migrate")


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
    assert "reconciler once" in found["oldest row"].mend


async def test_outcomes_that_are_lost(patient: Patient, workflow_id: str) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=400)
    await patient.database.insert(workflow_id, None, created_at=long_ago)

    await assert_found(
        patient, "oldest row", Level.WARNING, "1 not in Temporal", "reconciler backfill"
    )


async def test_the_oldest_rows_are_looked_at_and_no_others(patient: Patient, world: World) -> None:
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


async def test_ages_are_by_the_databases_clock(patient: Patient) -> None:
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
    lease = Lease(patient.database.engine, "workflow_executions", "staging", "web-1/7/ab")
    await lease.claim(LEASE_TIME)

    await assert_found(
        patient, "lease", Level.WARNING, "'staging' by web-1/7/ab", "check TEMPORAL_NAMESPACE"
    )


async def test_a_last_pass_that_failed(patient: Patient) -> None:
    await pass_over(patient.database, error="Temporal is unreachable: check TEMPORAL_ADDRESS")

    await assert_found(
        patient, "passes", Level.WARNING, "aborted: Temporal is", "check TEMPORAL_ADDRESS"
    )


async def test_a_data_converter_that_cannot_be_loaded(patient: Patient) -> None:
    patient.settings["data_converter"] = "tests.nowhere:converter"

    found = await assert_found(
        patient, "codec", Level.FAILURE, "no module tests.nowhere", "RECONCILER_DATA_CONVERTER"
    )

    assert levels(found, (*DATABASE, *TEMPORAL)) == {Level.OK}, "they are checked all the same"


@asynccontextmanager
async def _refusing(code: str, message: str) -> AsyncIterator[int]:
    """A database server that lets nobody in; its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        if (await reader.readexactly(length - 4))[:4] == struct.pack("!i", 80877103):
            writer.write(b"N")  # no TLS here; then comes what we wait for
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            await reader.readexactly(length - 4)
        fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
        writer.write(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
