"""Rows that name their namespace: which namespaces are usable, and where outcomes get lost.

`temporal-system` is a namespace of every server, with a retention of a week.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.doctor.findings import Finding, Level
from reconciler.postgres.diagnose.sample import NamespaceRows, rows_by_namespace
from reconciler.postgres.journal.lease import PostgresLease
from reconciler.postgres.table.names import TableNames
from reconciler.settings.table import Columns
from tests.integration.doctor.conftest import Patient
from tests.support.tables.past import pass_over
from tests.support.temporal.world import World

OTHER = "temporal-system"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
async def column(patient: Patient) -> None:
    await patient.database.execute("ALTER TABLE workflow_executions ADD space text")
    patient.settings["columns"] = Columns(namespace="space")


async def insert(patient: Patient, space: str | None, age: timedelta = timedelta()) -> None:
    made = datetime.now(UTC) - age
    await patient.database.insert("nothing", None, space=space, created_at=made)


async def namespaces(patient: Patient) -> list[Finding]:
    return [each for each in (await patient.examine()).findings if each.check == "namespaces"]


async def test_usable_namespaces_and_one_that_does_not_exist(patient: Patient) -> None:
    for space in ("nowhere", "nowhere", "nowhere", OTHER, OTHER, None, "", "default"):
        await insert(patient, space)

    good, bad = await namespaces(patient)

    assert good.message == (
        "3 running rows of default, keeps closed workflows for 24 h; "
        f"2 running rows of {OTHER}, keeps closed workflows for 7 d"
    )
    assert bad.level is Level.WARNING
    assert "3 running rows of 'nowhere' cannot be judged" in bad.message
    assert bad.fix == "correct it in the rows, or allow access"


async def test_without_the_column_there_is_no_such_check(patient: Patient) -> None:
    del patient.settings["columns"]

    assert await namespaces(patient) == []


async def test_with_temporal_down_they_are_not_checked(patient: Patient) -> None:
    patient.temporal["target_host"] = "127.0.0.1:1"

    (finding,) = await namespaces(patient)

    assert finding.message == "not checked: no connection to Temporal"


async def test_the_numbers_of_rows_and_namespaces_are_limited(patient: Patient) -> None:
    for space in ("a", "b", "b", "c", "c", "c", "a", "a", "a", "a"):
        await insert(patient, space)
    engine = patient.database.engine
    table = await patient.database.table(TableNames(namespace="space"))

    found = await rows_by_namespace(engine, table, "default", limit=2, among=6)

    counts = [(each.name, each.count) for each in found]
    assert counts == [("c", 3), ("b", 2)]
    assert isinstance(found[0], NamespaceRows)


async def test_a_row_is_old_by_the_retention_of_its_own_namespace(patient: Patient) -> None:
    await insert(patient, OTHER, 2 * DAY)

    oldest = (await patient.findings(Level.OK))["oldest row"]

    assert oldest.message == "1 running row, the oldest 2 d old, in several namespaces"


async def test_an_outcome_about_to_be_lost_is_found_behind_older_rows_of_another_namespace(
    patient: Patient,
) -> None:
    for _ in range(11):
        await insert(patient, OTHER, 3 * DAY)
    await insert(patient, None, 2 * DAY)
    await insert(patient, None)  # its workflow may be about to start

    oldest = (await patient.findings(Level.WARNING))["oldest row"]

    assert "the oldest 3 d old, in several namespaces; of the oldest, 1 not" in oldest.message


async def test_temporals_clock_shows_in_the_namespace_of_a_row(
    patient: Patient, world: World
) -> None:
    row = world.row(await world.start("wait"))
    for space in (OTHER, "nowhere", None):
        await patient.database.insert(row.workflow_id, row.run_id, space=space)

    clock = (await patient.findings(Level.WARNING))["temporal clock"]

    assert clock.level is Level.OK
    assert "one running workflow started" in clock.message


async def test_leases_and_passes_over_all_namespaces(patient: Patient) -> None:
    lease = PostgresLease(patient.database.engine, "workflow_executions", "*", "web-1/7/ab")
    await lease.claim(timedelta(hours=1))
    await pass_over(patient.database, of=("workflow_executions", "*"))

    found = await patient.findings(Level.OK)
    assert found["lease"].message.startswith("held by web-1/7/ab for a loop")
    assert found["passes"].message.startswith("the last pass (run")

    del patient.settings["columns"]
    found = await patient.findings(Level.WARNING)
    assert {found[check].level for check in ("lease", "passes")} == {Level.WARNING}
    assert "each row's own namespace (web-1/7/ab)" in found["lease"].message
    assert "set RECONCILER_COLUMNS__NAMESPACE here" in found["passes"].fix
