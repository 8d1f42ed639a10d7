"""What fires on a write, and a write that is tried: with what triggers make of it, unseen."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from pydantic import SecretStr

from reconciler.app.before_pass import review_table
from reconciler.core.policy import MissingPolicy
from reconciler.core.table_warnings import WarningCode
from reconciler.doctor.findings import Finding, Level
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.integration.doctor.conftest import Patient
from tests.integration.postgres.rows.test_rejections import trigger
from tests.integration.worker.conftest import locked_rows


@pytest.fixture
async def trying(patient: Patient) -> Patient:
    """A setup with one running row, in which the doctor tries a write."""
    patient.trying = True
    await patient.database.insert("wf", "run-1")
    return patient


async def write_of(patient: Patient, outcome: Level) -> Finding:
    return (await patient.findings(outcome))["write"]


async def test_the_triggers_that_can_fire_on_a_write_are_listed(patient: Patient) -> None:
    await patient.database.execute(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER stamp BEFORE UPDATE ON workflow_executions FOR EACH ROW"
        "  EXECUTE FUNCTION act();"
        "CREATE TRIGGER ids AFTER UPDATE OF workflow_id ON workflow_executions FOR EACH ROW"
        "  EXECUTE FUNCTION act();"
        "CREATE TRIGGER added AFTER INSERT ON workflow_executions FOR EACH ROW"
        "  EXECUTE FUNCTION act();"
        "CREATE TRIGGER off AFTER UPDATE ON workflow_executions FOR EACH ROW"
        "  EXECUTE FUNCTION act();"
        "ALTER TABLE workflow_executions DISABLE TRIGGER off;"
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE OF status ON workflow_executions"
        "  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION act();"
        "CREATE TRIGGER copy AFTER INSERT ON reconciler.changes EXECUTE FUNCTION act()"
    )

    found = await patient.findings(Level.OK)

    assert found["triggers"].message == (
        "3 triggers can fire on a write: stamp (BEFORE, act()), late (deferred, act()), "
        "copy on reconciler.changes (AFTER, act())"
    )
    assert "write" not in found


async def test_a_trigger_of_a_partition_and_those_of_rows_that_move(patient: Patient) -> None:
    await patient.database.execute(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "ALTER TABLE workflow_executions RENAME TO old;"
        "CREATE TABLE workflow_executions (LIKE old INCLUDING DEFAULTS, PRIMARY KEY (id, status))"
        "  PARTITION BY LIST (status);"
        "CREATE TABLE running PARTITION OF workflow_executions FOR VALUES IN ('running');"
        "CREATE TABLE ended PARTITION OF workflow_executions DEFAULT;"
        "CREATE TRIGGER each AFTER UPDATE ON workflow_executions FOR EACH ROW"
        "  EXECUTE FUNCTION act();"
        "CREATE TRIGGER gone AFTER DELETE ON running FOR EACH ROW EXECUTE FUNCTION act();"
    )

    found = (await patient.examine()).findings

    (triggers,) = (each.message for each in found if each.check == "triggers")
    assert triggers == (
        "2 triggers can fire on a write: each (AFTER, act()), gone on running (AFTER, act())"
    )


async def test_a_write_that_works_is_seen_by_nobody(trying: Patient) -> None:
    trying.settings["missing"] = MissingPolicy.FAIL
    await trigger(
        trying.database,
        "BEGIN INSERT INTO audit VALUES (NEW.id); NOTIFY audit; RETURN NEW; END",
        when="true",
    )
    await trying.database.execute("CREATE TABLE audit (id bigint)")
    heard: list[object] = []
    listener = await asyncpg.connect(trying.database.url)
    await listener.add_listener("audit", lambda *said: heard.append(said))
    before = await trying.database.fetch("SELECT *, xmin FROM workflow_executions")

    written = await write_of(trying, Level.OK)

    assert (
        written.message
        == "row 1 can become completed, failed, failed (not in Temporal); rolled back"
    )
    assert await trying.database.fetch("SELECT *, xmin FROM workflow_executions") == before
    for table in ("audit", "reconciler.changes", "reconciler.passes"):
        assert await trying.database.fetch(f"SELECT FROM {table}") == []
    await listener.execute("SELECT 1")
    assert heard == []
    await listener.close()


@pytest.mark.parametrize(
    ("timing", "body", "expected"),
    [
        ("BEFORE", "BEGIN NEW.status := 'x'; RETURN NEW; END", "a trigger changed the status to"),
        ("BEFORE", "BEGIN RETURN NULL; END", "a trigger skipped it"),
        ("AFTER", "BEGIN DELETE FROM workflow_executions; RETURN NULL; END", "deleted the row"),
        ("BEFORE", "BEGIN RAISE 'closed'; END", "closed, in function act() line 1"),
    ],
)
async def test_what_a_trigger_does_to_every_end(
    trying: Patient, timing: str, body: str, expected: str
) -> None:
    await trigger(trying.database, body, when="NEW.status <> 'x'", timing=timing)

    found = await write_of(trying, Level.FAILURE)

    assert found.message.startswith("row 1 cannot become completed, failed: ")
    assert expected in found.message
    assert found.fix == "change act() or the constraint, so that every end can be written"


async def test_an_end_that_a_deferred_trigger_rejects(trying: Patient) -> None:
    await trying.database.execute(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''late''; END';"
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON workflow_executions"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'failed')"
        " EXECUTE FUNCTION act()"
    )

    found = await write_of(trying, Level.WARNING)

    assert found.message == "row 1 cannot become failed: late, in function act() line 1"


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("CHECK (status <> 'failed' OR run_id IS NULL)", "cannot become failed: new row for"),
        ("CHECK (status <> 'failed' OR error_message ~ '^E')", "cannot become failed: new row for"),
    ],
)
async def test_an_end_that_a_constraint_rejects(
    trying: Patient, constraint: str, expected: str
) -> None:
    await trying.database.execute(f"ALTER TABLE workflow_executions ADD CONSTRAINT c {constraint}")

    assert expected in (await write_of(trying, Level.WARNING)).message


async def test_a_row_that_is_locked_is_not_waited_for(trying: Patient) -> None:
    async with locked_rows(trying.database):
        locked = await write_of(trying, Level.OK)
        await trying.database.insert("wf-2", "run-2")
        free = await write_of(trying, Level.OK)

    assert locked.message == "not checked: 1 running row, all of them locked or unreadable"
    assert free.message.startswith("row 2 can become completed")


async def test_a_lock_that_a_trigger_waits_for_is_not_waited_for(trying: Patient) -> None:
    await trying.database.execute("CREATE TABLE other (id int)")
    await trigger(
        trying.database, "BEGIN LOCK TABLE other; RETURN NEW; END", when="true", timing="BEFORE"
    )
    holder = await asyncpg.connect(trying.database.url)
    async with asyncio.timeout(60), holder.transaction():
        await holder.execute("LOCK TABLE other")
        found = await write_of(trying, Level.FAILURE)
    await holder.close()

    assert "canceling statement due to lock timeout, in function act() line 1" in found.message


async def test_without_a_running_row_it_is_not_checked(patient: Patient) -> None:
    patient.trying = True

    assert (await write_of(patient, Level.OK)).message == "not checked: no row is running"


async def test_a_table_that_cannot_be_written_is_not_tried(trying: Patient) -> None:
    await trying.database.execute("ALTER TABLE workflow_executions RENAME completed_at TO ended")

    assert (await write_of(trying, Level.FAILURE)).message == "not checked: see table"


CHECKS = [
    ("CHECK (status <> 'failed' OR failure_code IS NOT NULL)", "failed, failed (not in Temporal)"),
    ("CHECK ((status = 'running') = (completed_at IS NULL))", "failed (not in Temporal)"),
    ("CHECK (status IN ('running', 'failed') OR failure_code <> '')", ""),
    ("CHECK (completed_at >= created_at)", ""),
    ("CHECK (status <> 'failed' OR error_message LIKE '%: %')", "failed, failed (not in Temporal)"),
]


@pytest.mark.parametrize(("check", "rejected"), CHECKS)
async def test_a_constraint_that_rejects_an_end_of_every_row_is_found_without_a_write(
    patient: Patient, check: str, rejected: str
) -> None:
    patient.settings["missing"] = MissingPolicy.FAIL
    await patient.database.execute("ALTER TABLE workflow_executions ADD failure_code text")
    await patient.database.execute(f"ALTER TABLE workflow_executions ADD CONSTRAINT c {check}")
    await patient.database.insert_many(3, "wf", "run-1")

    found = {each.check: each for each in (await patient.examine()).findings}

    assert ("write" in found) is bool(rejected), found.get("write")
    if rejected:
        expected = f"constraint c rejects every row that becomes {rejected}, which would stay as it"
        assert found["write"].level is Level.WARNING
        assert found["write"].message.startswith(expected)


async def test_a_pass_warns_of_such_a_constraint(database: Database) -> None:
    await database.execute(
        "ALTER TABLE workflow_executions ADD error jsonb, ADD CONSTRAINT c"
        " CHECK (status <> 'failed' OR error IS NOT NULL)"
    )
    await database.insert("wf", "run-1")
    settings = Settings(database_url=SecretStr(database.url))

    (found,) = await review_table(database.engine, await database.table(), settings)

    assert found.code is WarningCode.WRITE_REJECTED
    assert found.problem == (
        "constraint c rejects every row that becomes failed, which would stay as it is: "
        "CHECK ((status <> 'failed'::text) OR (error IS NOT NULL))"
    )


async def test_a_constraint_that_a_trigger_may_keep_causes_no_warning(patient: Patient) -> None:
    await patient.database.execute("ALTER TABLE workflow_executions ADD failure_code text")
    await patient.database.execute(
        f"ALTER TABLE workflow_executions ADD CONSTRAINT c {CHECKS[0][0]}"
    )
    await patient.database.insert("wf", "run-1")
    await trigger(patient.database, "BEGIN NEW.failure_code := 'x'; RETURN NEW; END", when="true")

    assert "write" not in {each.check for each in (await patient.examine()).findings}
