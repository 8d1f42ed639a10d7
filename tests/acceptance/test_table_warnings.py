"""What is suspicious about the table as a whole: said by every pass, and never quietly ok."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import daemon

NONE = (
    "no row has the status running, or another that a setting names; rows have COMPLETED (2), "
    "RUNNING (1)"
)
FIX = "set RECONCILER_STATUSES__RUNNING=RUNNING, RECONCILER_STATUSES__COMPLETED=COMPLETED"


@pytest.fixture
async def in_capitals(database: Database) -> None:
    for status in ("RUNNING", "COMPLETED", "COMPLETED"):
        await database.insert("w", status=status)


@pytest.mark.usefixtures("in_capitals")
@pytest.mark.parametrize("command", [["once"], ["once", "--dry-run"], ["backfill"]])
async def test_a_pass_over_rows_without_a_configured_status(
    reconciler: Command, command: list[str]
) -> None:
    text, as_json = await reconciler(*command), await reconciler(*command, "--json")

    assert (text.code, as_json.code) == (3, 3)
    assert f"\nwarning  {NONE}: {FIX}\nunresolved: 0 rows in " in text.out
    assert as_json.json["outcome"] == "unresolved"
    warning = {"code": "no_configured_status", "problem": NONE, "fix": FIX}
    assert as_json.json["warnings"] == [warning]


@pytest.mark.usefixtures("in_capitals")
async def test_a_loop_logs_it_in_its_first_pass(reconciler: Command) -> None:
    async with daemon(reconciler, RECONCILER_INTERVAL="1s") as running:
        logged = await running.said("table_warning")
        assert (logged["code"], logged["problem"]) == ("no_configured_status", NONE)
        assert (logged["hint"], logged["level"]) == (FIX, "warning")
        assert await running.stop() == 0


@pytest.mark.usefixtures("in_capitals")
async def test_values_in_another_case_and_values_without_a_setting(
    reconciler: Command, database: Database
) -> None:
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, status)"
        " SELECT 'w', 'awaiting_approval' FROM generate_series(1, 50)"
    )

    result = await reconciler("once", "--json", RECONCILER_STATUSES__RUNNING="RUNNING")

    assert result.code == 0
    assert [(each["code"], each["problem"]) for each in result.json["warnings"]] == [
        ("other_spelling", "passes write completed, and rows have COMPLETED (2)"),
        (
            "unmapped_status",
            "rows that have not ended have statuses that no setting names: awaiting_approval (50)",
        ),
    ]


async def test_a_filter_that_selects_no_row(reconciler: Command, database: Database) -> None:
    empty = await reconciler("once", RECONCILER_WHERE="workflow_type=order")
    await database.insert("w", "r", workflow_type="ORDER")
    excluding = await reconciler("once", RECONCILER_WHERE="workflow_type=order")

    assert (empty.code, excluding.code) == (0, 3)
    assert "RECONCILER_WHERE (workflow_type = order) selects none of them" in excluding.out
