"""Setups that are broken in one way each: the right finding, its level and its fix."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from reconciler.doctor.findings import Level
from reconciler.settings.statuses import Statuses
from tests.integration.doctor.conftest import Patient, assert_found, levels
from tests.support.network.silent import silent_server

SECRET = "s3cret"
#: The checks of the database, of Temporal, and of both.
DATABASE = ("database", "pooler", "clock", "table", "privileges", "index", "schema", "lease")
TEMPORAL = ("temporal", "namespace")
BOTH = ("oldest row", "temporal clock")


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


async def test_an_invalid_address(patient: Patient) -> None:
    patient.temporal["target_host"] = "no address"

    found = await assert_found(patient, "temporal", Level.FAILURE, "no address", "TEMPORAL")

    assert levels(found, DATABASE) == {Level.OK}


async def test_both_servers_down_are_two_failures(patient: Patient) -> None:
    patient.settings["database_url"] = "postgresql://127.0.0.1:1/app"
    patient.temporal["target_host"] = "127.0.0.1:1"

    found = await patient.findings(Level.FAILURE)

    assert [name for name, each in found.items() if each.level is Level.FAILURE] == [
        "database",
        "temporal",
    ]


async def test_silent_servers_time_out_at_the_same_time(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.postgres.connection.engine.CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(
        "reconciler.temporal.client.connect.CONNECT_TIMEOUT", timedelta(seconds=0.5)
    )
    async with silent_server() as silent:
        patient.settings["database_url"] = f"postgresql://app@127.0.0.1:{silent.port}/app"
        patient.temporal["target_host"] = f"127.0.0.1:{silent.port}"

        found = await patient.findings(Level.FAILURE)

    assert "did not answer in time" in found["database"].message
    assert "did not answer within" in found["temporal"].message
    assert levels(found, (*DATABASE[1:], *BOTH)) == {Level.SKIPPED}


async def test_a_namespace_that_does_not_exist(patient: Patient) -> None:
    patient.temporal["namespace"] = "nowhere"

    found = await assert_found(
        patient, "namespace", Level.FAILURE, "no namespace 'nowhere'", "set TEMPORAL_NAMESPACE"
    )

    assert found["temporal"].level is Level.OK
    assert levels(found, BOTH) == {Level.SKIPPED}


async def test_a_table_that_does_not_exist(patient: Patient) -> None:
    patient.settings["table"] = "orders"

    found = await assert_found(
        patient, "table", Level.FAILURE, "no table orders", "set RECONCILER_TABLE"
    )

    assert levels(found, ("privileges", "index", *BOTH)) == {Level.SKIPPED}
    assert found["schema"].level is Level.OK


async def test_missing_privileges_on_the_table(patient: Patient, role: str) -> None:
    await patient.database.execute(
        f"GRANT USAGE ON SCHEMA reconciler TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler TO {role};"
        f"GRANT SELECT ON workflow_executions TO {role}"
    )

    found = await assert_found(
        patient, "privileges", Level.FAILURE, f"role {role} may not", "GRANT UPDATE (status)"
    )

    assert levels(found, ("table", "index", "oldest row")) == {Level.OK}, "they only read"
    await patient.database.execute(found["privileges"].fix)
    await patient.findings(Level.OK)


async def test_missing_privileges_on_our_schema(patient: Patient, role: str) -> None:
    await patient.database.execute(f"GRANT SELECT, UPDATE ON workflow_executions TO {role}")

    found = await assert_found(
        patient, "schema", Level.FAILURE, f"role {role} may not use schema", "GRANT USAGE"
    )

    assert levels(found, ("lease", "passes")) == {Level.SKIPPED}
    await patient.database.execute(found["schema"].fix)
    found = await assert_found(
        patient, "schema", Level.WARNING, "`once` may use it, `run`", "reconciler.lease"
    )
    assert (found["lease"].level, found["passes"].level) == (Level.SKIPPED, Level.OK)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("DROP SCHEMA reconciler CASCADE", "does not exist"),
        ("UPDATE reconciler.alembic_version SET version_num = '0001'", "at revision 0001"),
        ("UPDATE reconciler.alembic_version SET version_num = '0999'", "knows none after"),
    ],
    ids=["not migrated", "behind", "ahead"],
)
async def test_a_schema_of_another_version(patient: Patient, change: str, text: str) -> None:
    await patient.database.execute(change)

    found = await assert_found(patient, "schema", Level.FAILURE, text, "run ")

    assert levels(found, ("lease", "passes")) == {Level.SKIPPED}


LOOKUPS = (
    "DROP INDEX ix_workflow_executions_workflow_id, reconciler_workflow_executions_workflow_id"
)
INVALID = (
    "UPDATE pg_index SET indisvalid = false"
    " WHERE indexrelid = 'reconciler_workflow_executions_running'::regclass"
)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("DROP INDEX reconciler_workflow_executions_running", "is missing"),
        (INVALID, "is invalid"),
        (LOOKUPS, "reconciler_workflow_executions_workflow_id is missing: each look-up"),
    ],
    ids=["missing", "invalid", "missing for look-ups"],
)
async def test_an_index_that_does_not_serve(patient: Patient, change: str, text: str) -> None:
    await patient.database.insert_many(3, "wf", None)
    await patient.database.execute(change)

    await assert_found(patient, "index", Level.WARNING, text, "reconciler migrate")


async def test_an_index_for_another_status(patient: Patient) -> None:
    patient.settings["statuses"] = Statuses(running="pending")

    text = "(reconciler_workflow_executions_running is for other columns or running values)"
    await assert_found(patient, "index", Level.WARNING, text, "reconciler migrate")


async def test_a_data_converter_that_cannot_be_loaded(patient: Patient) -> None:
    patient.settings["data_converter"] = "tests.nowhere:converter"

    found = await assert_found(
        patient, "codec", Level.FAILURE, "no module tests.nowhere", "RECONCILER_DATA_CONVERTER"
    )

    assert levels(found, (*DATABASE, *TEMPORAL)) == {Level.OK}, "they are checked all the same"


@asynccontextmanager
async def _refusing(code: str, message: str) -> AsyncIterator[int]:
    """A database server that rejects every login; yields its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        if (await reader.readexactly(length - 4))[:4] == struct.pack("!i", 80877103):
            writer.write(b"N")  # no TLS; the startup message follows
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            await reader.readexactly(length - 4)
        fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
        writer.write(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
