"""Other setups: fewer columns, no journal, partitions, poolers, TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.doctor.findings import Level
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.table import Columns
from tests.integration.doctor.conftest import Patient
from tests.support.network.certificates import Authority
from tests.support.network.postgres_tls import kinds, tls_server
from tests.support.servers.pooler import KINDS, pooler
from tests.support.tables.shapes import SHAPES

OURS = ("schema", "lease", "passes")


async def test_without_a_journal_there_is_no_schema_to_check(patient: Patient) -> None:
    await patient.database.execute("DROP SCHEMA reconciler CASCADE")
    patient.settings["journal"] = "off"

    found = await patient.findings(Level.OK)

    assert {found[check].message for check in OURS} == {"RECONCILER_JOURNAL is off: there is none"}
    assert {found[check].level for check in OURS} == {Level.OK}


async def test_without_creation_times_no_row_has_an_age(patient: Patient) -> None:
    await patient.database.execute("ALTER TABLE workflow_executions DROP created_at")
    await patient.database.insert("wf", "run")
    patient.settings["columns"] = Columns(created_at="")

    found = await patient.findings(Level.OK)

    for check in ("oldest row", "temporal clock"):
        assert found[check].level is Level.SKIPPED
        assert "RECONCILER_COLUMNS__CREATED_AT is empty" in found[check].message


async def test_without_run_ids_temporals_clock_is_not_measurable(patient: Patient) -> None:
    await patient.database.execute("ALTER TABLE workflow_executions DROP run_id")
    patient.settings["columns"] = Columns(run_id="")

    found = await patient.findings(Level.OK)

    assert found["oldest row"].level is Level.OK
    assert found["temporal clock"].level is Level.SKIPPED
    assert "RECONCILER_COLUMNS__RUN_ID is empty" in found["temporal clock"].message


async def test_the_type_of_an_enum_status_is_named(patient: Patient) -> None:
    await patient.database.execute(
        "CREATE TYPE state AS ENUM ('running', 'completed', 'failed');"
        "DROP INDEX reconciler_workflow_executions_running,"
        " reconciler_workflow_executions_workflow_id;"
        "ALTER TABLE workflow_executions ALTER status DROP DEFAULT,"
        " ALTER status TYPE state USING status::state"
    )
    await migrate(patient.database.url, TableMapping())

    found = await patient.findings(Level.OK)

    assert found["table"].message.endswith("id bigint (key), status state")


async def test_a_short_column_for_messages(patient: Patient) -> None:
    await patient.database.execute(
        "ALTER TABLE workflow_executions ALTER error_message TYPE varchar(60)"
    )

    table = (await patient.findings(Level.OK))["table"]

    assert table.message.endswith(", messages are cut at 60 characters")


async def test_a_partitioned_table(patient: Patient) -> None:
    shape = SHAPES["partitioned by time"]
    await patient.database.execute(shape.sql)
    await patient.database.execute("DELETE FROM jobs WHERE created_at < now() - '1h'::interval")
    patient.settings["table"] = "jobs"

    index = (await patient.findings(Level.WARNING))["index"]  # the last of two
    assert index.level is Level.WARNING
    assert index.message.startswith("reconciler_jobs_workflow_id is missing")
    assert index.fix == "run `reconciler migrate`"

    await migrate(patient.database.url, TableMapping(TableNames(table="jobs")))
    assert (await patient.findings(Level.OK))["index"].level is Level.OK


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_pooler(patient: Patient, kind: str, mode: str) -> None:
    async with pooler(patient.database.url, mode=mode, size=4, kind=kind) as here:
        patient.settings["database_url"] = here.url

        found = await patient.findings(Level.OK)

    assert found["pooler"].message.startswith(f"a pooler in {mode} mode")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pooler_without_transactions(patient: Patient, kind: str) -> None:
    async with pooler(patient.database.url, mode="statement", kind=kind) as here:
        patient.settings["database_url"] = here.url

        (failure,) = await patient.failures()

    assert failure.check == "database"
    assert failure.fix == "set the pooler's pool_mode to transaction or session"


@pytest.mark.parametrize("kind", kinds()[:1])
async def test_tls_with_the_database(
    patient: Patient, kind: str, postgres_url: str, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    async with tls_server(kind, postgres_url, authority) as server:
        untrusted = server.url(sslmode="verify-full", sslrootcert=stranger.root)
        for url, fix in (
            (server.plain_url(sslmode="require"), "check sslmode in DATABASE_URL"),
            (untrusted, "check sslmode, sslrootcert, sslcert and sslkey"),
        ):
            patient.settings["database_url"] = url
            (failure,) = await patient.failures()
            assert (failure.check, failure.fix) == ("database", fix)


async def test_tls_with_a_temporal_that_speaks_none(patient: Patient) -> None:
    patient.temporal["tls"] = True

    (failure,) = await patient.failures()

    assert failure.check == "temporal"
    assert failure.message.startswith("no TLS with Temporal at ")
    assert failure.fix == "check TEMPORAL_ADDRESS and TEMPORAL_TLS*"
