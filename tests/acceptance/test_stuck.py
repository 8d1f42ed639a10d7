"""`reconciler stuck`: what is stuck and why, as passes recorded it and as Temporal says now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from temporalio.client import Client

from tests.acceptance.test_refusals import assert_refused
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.open_stage import DELAY, OpenStage
from tests.support.commands.terminal import at_terminal


@pytest.fixture
async def stage(
    database: Database, temporal: Client, task_queue: str, workflow_id: str
) -> AsyncIterator[OpenStage]:
    stage = OpenStage(database, temporal, task_queue, workflow_id)
    yield stage
    await stage.end()


async def test_the_record_says_what_temporal_says(reconciler: Command, stage: OpenStage) -> None:
    none = await reconciler("stuck")
    began = datetime.now(UTC)
    await stage.start("wait")
    delayed = await stage.start("wait", start_delay=DELAY)
    retrying = [await stage.retrying(f"no card {number}") for number in (17, 4)]
    unlooked = await reconciler("stuck")

    passed = await reconciler("once")
    text = await reconciler("stuck")
    recorded = (await reconciler("stuck", "--json")).json
    now = await reconciler("stuck", "--check", "--json")
    some = await reconciler("stuck", "--reason", "activityretrying", "--limit", "1")
    young = await reconciler("stuck", "--json", "--older-than", "1h", "--type", "Scripted")

    assert (none.code, none.out) == (
        0,
        "no row is stuck; no pass of `run` or `once` has ended yet\n",
    )
    assert unlooked.code == 3
    assert "start `reconciler run`, or ask Temporal with --check" in unlooked.out
    assert (passed.code, text.code, now.code, now.err) == (0, 0, 0, "")
    lines = text.out.splitlines()
    assert lines[0].startswith("2 rows: ActivityRetrying charge: PaymentDeclined: no card N, ")
    assert lines[1].startswith("1 row: Delayed ")
    assert lines[-2].startswith("3 rows are stuck; as of the pass that ended ")
    assert lines[-1].startswith("passes judge each row every 10 min: ")
    assert list(recorded) == ["checked_at", "rows", "groups", "stuck"]
    assert began < datetime.fromisoformat(recorded["checked_at"]) < datetime.now(UTC)
    for found in (recorded, now.json):
        assert {k: v for k, v in found["rows"].items() if v} == {
            "Delayed": 1,
            "ActivityRetrying": 2,
        }
        assert [each["rows"] for each in found["groups"]] == [2, 1]
        by_id = {each["workflow_id"]: each for each in found["stuck"]}
        assert set(by_id) == {delayed.id, *(each.id for each in retrying)}
        assert by_id[retrying[0].id]["run_id"] == retrying[0].first_execution_run_id
        assert by_id[retrying[0].id]["workflow_type"] == "Scripted"
        assert "no card 17" in by_id[retrying[0].id]["text"]
        assert began < datetime.fromisoformat(by_id[retrying[0].id]["since"])
    assert "2 such rows are stuck" in some.out
    assert "there are more: reconciler stuck --reason activityretrying --limit N" in some.out
    assert young.json["stuck"] == young.json["groups"] == []

    explained = (await reconciler("explain", delayed.id, "--json")).json["rows"][0]
    words = await reconciler("explain", retrying[0].id)
    assert explained["condition"]["reason"] == "Delayed"
    [since] = [
        row["since"][:19] for row in recorded["stuck"] if row["workflow_id"] == retrying[0].id
    ]
    assert f"why open  ActivityRetrying since {since}Z: charge: " in words.out

    # A row that ends is not shown, whether a pass has seen it or not.
    await stage.database.execute(
        "UPDATE workflow_executions SET status = 'completed' WHERE workflow_id = $1", delayed.id
    )
    assert (await reconciler("stuck", "--json")).json["rows"]["Delayed"] == 0


async def test_without_a_journal_only_temporal_knows(reconciler: Command, stage: OpenStage) -> None:
    delayed = await stage.start("wait", start_delay=DELAY)
    await stage.database.insert("odd", "no run id")
    await stage.database.execute("DROP SCHEMA reconciler CASCADE")

    refused = await reconciler("stuck", RECONCILER_JOURNAL="off")
    now = await reconciler("stuck", "--check", RECONCILER_JOURNAL="off", RECONCILER_GRACE="0")
    gone = await reconciler("stuck", "--check", "--json", TEMPORAL_ADDRESS="127.0.0.1:1")

    assert_refused(refused, 2, "RECONCILER_JOURNAL is off", "ask Temporal with --check")
    assert now.code == 3
    assert delayed.id in now.out
    assert "1 row is stuck; Temporal was asked about 2 running rows" in now.out
    assert "1 row could not be judged, see the log" in now.out
    assert_refused(gone, 4, "127.0.0.1:1")
    before = await stage.database.fetch("SELECT DISTINCT status FROM workflow_executions")
    assert before == [{"status": "running"}]


async def test_at_a_terminal_of_other_rows_and_without_a_row(
    reconciler: Command, stage: OpenStage
) -> None:
    delayed = await stage.start("wait", start_delay=DELAY)

    async with at_terminal(reconciler, "stuck", "--check") as terminal:
        await terminal.prints(delayed.id)
        assert await terminal.code() == 0

    # Of passes over the same rows: as here, if rows name their namespaces, and some are left out.
    await stage.database.execute("ALTER TABLE workflow_executions ADD space text DEFAULT 'default'")
    scope = {"RECONCILER_COLUMNS__NAMESPACE": "space", "RECONCILER_WHERE": "space=default"}
    passed = await reconciler("once", **scope)
    of_these, of_others = await reconciler("stuck", **scope), await reconciler("stuck")
    assert (passed.code, of_these.code, of_others.code) == (0, 0, 3)
    assert "1 row is stuck; as of the pass that ended " in of_these.out
    assert "no row is stuck; no pass of `run` or `once` has ended yet" in of_others.out

    # Also without a row, as for a child.
    await stage.database.execute("DELETE FROM workflow_executions")
    explained = await reconciler("explain", delayed.id, "--json")
    assert "open (RUNNING), Delayed" in explained.err
    assert explained.json["condition"]["reason"] == "Delayed"
