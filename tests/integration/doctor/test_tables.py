"""Tables that do not fit, are not accessible or are read-only: reported as a start does."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.doctor.findings import Level
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from reconciler.settings.table import Columns
from reconciler.settings.where import read_where
from tests.conftest import Database
from tests.integration.doctor.conftest import Patient
from tests.support.servers.standby import primary_and_replica

#: The checks that do not depend on the columns.
OTHERS = ("database", "pooler", "clock", "schema", "lease", "passes", "temporal", "namespace")
GRANTS = (
    "GRANT USAGE ON SCHEMA reconciler TO {role};"
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler TO {role};"
    "GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO {role};"
)


async def assert_refused(patient: Patient, *expected: tuple[str, str, str]) -> None:
    """Exactly these failures: check, part of the message, start of the fix."""
    failures = await patient.failures()

    assert [each.check for each in failures] == [check for check, *_ in expected]
    for finding, (_, text, fix) in zip(failures, expected, strict=True):
        assert text in finding.message
        assert finding.fix.startswith(fix), finding


async def assert_others_are_checked(patient: Patient) -> None:
    found = {each.check: each.level for each in (await patient.examine()).findings}
    assert {check: found[check] for check in OTHERS} == dict.fromkeys(OTHERS, Level.OK)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("view", "CREATE VIEW jobs AS SELECT * FROM workflow_executions"),
        (
            "foreign table",
            """
            CREATE FOREIGN DATA WRAPPER far;
            CREATE SERVER away FOREIGN DATA WRAPPER far;
            CREATE FOREIGN TABLE jobs (id int, status text) SERVER away
            """,
        ),
    ],
)
async def test_a_relation_that_is_not_a_table(patient: Patient, kind: str, made: str) -> None:
    await patient.database.execute(made)
    patient.settings["table"] = "jobs"

    await assert_refused(
        patient, ("table", f"jobs is a {kind}, not a table", "set RECONCILER_TABLE to the table")
    )

    found = {each.check: each for each in (await patient.examine()).findings}
    assert found["privileges"].message == "not checked: see table"
    assert found["index"].message == "not checked: the table cannot be used"


STATUS = "ALTER TABLE workflow_executions ALTER status DROP DEFAULT, ALTER status TYPE"


@pytest.mark.parametrize(
    ("change", "text", "fix"),
    [
        (
            f"""
            DROP INDEX reconciler_workflow_executions_running,
                reconciler_workflow_executions_workflow_id;
            CREATE TYPE state AS ENUM ('running', 'completed');
            {STATUS} state USING 'running'
            """,
            "status of workflow_executions, state of running, completed, cannot hold 'failed' (REC",
            "change the setting or the column",
        ),
        (
            f"{STATUS} varchar(8)",
            "character varying(8), cannot hold 'completed' (RECONCILER_STATUSES__COMPLETED)",
            "change the setting or the column",
        ),
        (
            "ALTER TABLE workflow_executions RENAME run_id TO first_run",
            "table workflow_executions has no column run_id",
            "set RECONCILER_COLUMNS__RUN_ID (empty: no such column)",
        ),
        (
            "ALTER TABLE workflow_executions DROP error_message",
            "table workflow_executions has no column error_message",
            "set RECONCILER_COLUMNS__ERROR_MESSAGE (empty: no such column), or run",
        ),
        (
            """
            ALTER TABLE workflow_executions DROP CONSTRAINT workflow_executions_pkey,
            ADD PRIMARY KEY (workflow_id, id)
            """,
            "does not identify a row, its primary key is (workflow_id, id)",
            "set RECONCILER_COLUMNS__ID to one that",
        ),
        (
            """
            ALTER TABLE workflow_executions ALTER created_at DROP DEFAULT,
            ALTER created_at TYPE date
            """,
            "column created_at of workflow_executions is of type date",
            "set RECONCILER_COLUMNS__CREATED_AT",
        ),
    ],
    ids=["enum", "varchar", "column", "not migrated", "key", "type"],
)
async def test_a_column_that_does_not_fit(
    patient: Patient, change: str, text: str, fix: str
) -> None:
    await patient.database.execute(change)

    await assert_refused(patient, ("table", text, fix))
    await assert_others_are_checked(patient)
    (privileges,) = [
        each for each in (await patient.examine()).findings if each.check == "privileges"
    ]
    assert (privileges.level, privileges.message) == (
        Level.OK,
        "may use the columns that are there",
    )


async def test_a_filter_value_that_its_column_cannot_hold(patient: Patient) -> None:
    await patient.database.execute("ALTER TABLE workflow_executions ADD tenant int")
    patient.settings["where"] = read_where("tenant=acme")

    await assert_refused(
        patient,
        ("table", "cannot hold 'acme' (RECONCILER_WHERE)", "change the setting or the column"),
    )
    await assert_others_are_checked(patient)


async def test_each_problem_has_a_line(patient: Patient, role: str) -> None:
    await patient.database.execute(
        f"{GRANTS} REVOKE UPDATE ON workflow_executions FROM {{role}};{STATUS} varchar(8)".format(
            role=role
        )
    )
    patient.settings["columns"] = Columns(run_id="first_run")

    await assert_refused(
        patient,
        ("table", "has no column first_run", "set RECONCILER_COLUMNS__RUN_ID"),
        ("table", "cannot hold 'completed'", "change the setting or the column"),
        ("privileges", f"role {role} may not use table", "GRANT UPDATE (status)"),
    )
    await assert_others_are_checked(patient)


async def test_rows_that_are_hidden_from_the_role(patient: Patient, role: str) -> None:
    await patient.database.execute(
        f"{GRANTS} ALTER TABLE workflow_executions ENABLE ROW LEVEL SECURITY".format(role=role)
    )

    await assert_refused(
        patient,
        ("privileges", "row-level security may hide rows", "CREATE POLICY reconciler ON workflow"),
    )
    await assert_others_are_checked(patient)

    (hidden,) = await patient.failures()
    await patient.database.execute(hidden.fix.partition(", or ")[0])
    assert (await patient.findings(Level.OK))["table"].level is Level.OK


async def test_a_schema_that_is_closed_to_the_role(patient: Patient, role: str) -> None:
    await patient.database.execute(
        f"{GRANTS} CREATE SCHEMA app; ALTER TABLE workflow_executions SET SCHEMA app".format(
            role=role
        )
    )
    patient.settings["table"] = "app.workflow_executions"

    await assert_refused(
        patient, ("privileges", "permission denied for schema app", "GRANT USAGE ON SCHEMA app ")
    )


async def test_a_database_that_is_read_only(patient: Patient) -> None:
    name = (await patient.database.fetch("SELECT current_database() AS name"))[0]["name"]
    await patient.database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only=on')

    await assert_refused(
        patient, ("privileges", "default_transaction_read_only is on", "set it to off")
    )
    found = await patient.findings(Level.FAILURE)
    assert found["table"].level is Level.OK
    await assert_others_are_checked(patient)


async def test_a_read_replica(patient: Patient) -> None:
    async with primary_and_replica() as servers:
        await migrate(servers.primary.url, TableMapping())
        await servers.in_step()
        async with using_engine(servers.replica.url) as engine:
            pool = patient.database.pool  # of another server, and not used
            replica = Database(servers.replica.url, engine, pool)
            patient = dataclasses.replace(patient, database=replica)

            await assert_refused(
                patient,
                (
                    "privileges",
                    "this server is a read replica",
                    "point DATABASE_URL at the primary",
                ),
            )
            await assert_others_are_checked(patient)
            found = await patient.findings(Level.FAILURE)
            levels = {found[check].level for check in ("table", "index", "oldest row")}
            assert levels == {Level.OK}, "they only read"

            patient.settings["columns"] = Columns(run_id="first_run")
            findings = (await patient.examine()).findings
            wrong = [each.check for each in findings if each.level is Level.FAILURE]
            assert wrong == ["table", "privileges"], "both are reported at once"


async def test_a_uuid_in_a_composite_key_and_a_workflow_id_of_columns_without_an_index(
    patient: Patient,
) -> None:
    await patient.database.execute(
        "CREATE TABLE jobs (LIKE workflow_executions INCLUDING DEFAULTS);"
        "ALTER TABLE jobs DROP id, ADD id uuid NOT NULL DEFAULT gen_random_uuid(), ADD tenant int,"
        ' ADD "Part" int, ADD UNIQUE (tenant, id), ALTER workflow_id DROP NOT NULL;'
        "INSERT INTO jobs (tenant, \"Part\", created_at) VALUES (7, 1, now() - interval '1 d')"
    )
    patient.settings["table"] = "jobs"
    patient.settings["columns"] = Columns(workflow_id="export/{Part}", run_id=None)

    found = [
        each for each in (await patient.examine()).findings if each.check in ("table", "index")
    ]

    assert any("id is only part of a key" in each.message for each in found)
    (slow,) = [each for each in found if "none begins with Part:" in each.message]
    assert slow.fix == 'CREATE INDEX CONCURRENTLY ON jobs ("Part")'
    (unfound,) = [each for each in found if "none begins with id:" in each.message]
    assert unfound.fix == "CREATE INDEX CONCURRENTLY ON jobs (id)"


BY_NAME = """
    ALTER TABLE workflow_executions ADD updated_at timestamptz;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON workflow_executions
        FOR EACH ROW EXECUTE FUNCTION touch();
"""
BY_ARGUMENT = """
    ALTER TABLE workflow_executions ADD updated timestamptz;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RETURN jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[0], now())); END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON workflow_executions
        FOR EACH ROW EXECUTE FUNCTION touch('updated');
"""


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("ALTER TABLE workflow_executions ADD updated_at timestamptz", "updated_at"),
        ('ALTER TABLE workflow_executions ADD "modifiedAt" timestamp(3)', "modifiedAt"),
        ("ALTER TABLE workflow_executions ADD updated_at text", None),
        (BY_NAME, None),
        (BY_ARGUMENT, None),
    ],
    ids=["unset", "quoted", "text", "by a trigger", "by a trigger with arguments"],
)
async def test_a_time_of_the_last_change_that_nobody_sets(
    patient: Patient, sql: str, column: str | None
) -> None:
    await patient.database.execute(sql)

    found = await patient.findings(Level.OK)

    said = found["last change"].message if "last change" in found else None
    assert said == (
        column
        and f"passes do not set {column}, and neither does a trigger: if readers rely on it, set "
        f"RECONCILER_COLUMNS__UPDATED_AT={column}"
    )
    if column is not None:
        patient.settings["columns"] = Columns(updated_at=column)
        assert "last change" not in await patient.findings(Level.OK)
