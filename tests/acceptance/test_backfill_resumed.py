"""A backfill in pieces: killed, cut off, interrupted, limited; and the same command again."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from temporalio.client import Client

from tests.acceptance.test_backfill import APPLY
from tests.conftest import Database
from tests.support.commands.command import Command, Process, Result
from tests.support.commands.stage import Stage
from tests.support.network.proxy import proxy
from tests.support.polling import PATIENCE, eventually

ROWS = 120
#: Calls per second of what is disturbed on its way: a second for a page, six for all.
SLOWLY = "20"


@pytest.fixture
async def stage(database: Database, temporal: Client, workflow_id: str) -> AsyncIterator[Stage]:
    """Closed and missing rows, and one that is open at the end of each page."""
    stage = Stage(database, temporal, workflow_id)
    closed, still_open = await stage.closed(), await stage.start("open")
    for _ in range(ROWS // 20):
        await stage.insert(closed, 14)
        await stage.insert_missing(5)
        await stage.insert(still_open)
    yield stage
    await stage.end()


@pytest.fixture
def backfill(reconciler: Command) -> Command:
    settings = {"RECONCILER_BATCH_SIZE": "20", "RECONCILER_MAX_RPS": "0"}
    return replace(reconciler, environment={**reconciler.environment, **settings})


async def everything_is_right(stage: Stage, passes: int = 1) -> None:
    finished = ROWS // 20 * 19
    assert await stage.statuses() == {"failed": finished, "running": ROWS // 20}
    assert await stage.journalled() == finished
    rows = await stage.passes()
    assert [row["outcome"] for row in rows] == ["ok"] * passes
    assert all(row["cursor"] is None for row in rows)


def total(result: Result) -> int:
    report = result.json
    left = sum(report["left"].values()) + report["unknown"]
    return int(sum(report["written"].values()) + left + report["lost_races"])


async def forget_the_dead(stage: Stage) -> None:
    """Stands for the 15 s after which the lease of a dead process has run out."""
    await stage.database.execute("DELETE FROM reconciler.lease")


async def kill_at_change(process: Process, stage: Stage, number: int) -> None:
    async def so_far() -> bool:
        return process.returncode is not None or await stage.journalled() >= number

    await eventually(so_far)
    if process.returncode is None:
        process.kill()
    await process.communicate()
    await forget_the_dead(stage)


async def test_killed_at_any_point_the_same_command_does_the_rest(
    backfill: Command, stage: Stage
) -> None:
    options = (*APPLY, "--missing", "fail", "--json")
    for number in sorted(random.sample(range(1, ROWS * 19 // 20 - 20), 3)):
        process = await backfill.start(*options)

        await kill_at_change(process, stage, number)

    result = await backfill(*options)

    assert result.code == 0, result.err
    assert total(result) == result.json["scanned"]
    await everything_is_right(stage, passes=len(await stage.passes()))


async def test_a_killed_one_is_gone_on_with_in_the_same_pass_and_not_from_the_start(
    backfill: Command, stage: Stage
) -> None:
    process = await backfill.start(*APPLY, "--missing", "fail", "--max-rps", SLOWLY)

    async def under_way() -> bool:
        rows = await stage.passes()
        return any(json.loads(str(row["report"]))["scanned"] for row in rows if row["report"])

    await eventually(under_way)
    process.kill()
    await process.communicate()
    await forget_the_dead(stage)
    (begun,) = await stage.passes()

    result = await backfill(*APPLY, "--missing", "fail", "--json")

    assert f"resuming pass {begun['id']}" in result.err
    assert result.json["pass_id"] == str(begun["id"])
    assert result.json["scanned"] == ROWS == total(result)
    assert "still to look at: " in result.err
    assert f"{ROWS} rows of" not in result.err, "not from the start"
    await everything_is_right(stage)


async def test_interrupted_it_finishes_its_batch_and_says_how_to_go_on(
    backfill: Command, stage: Stage
) -> None:
    process = await backfill.start(*APPLY, "--missing", "fail", "--max-rps", SLOWLY)

    async def under_way() -> bool:
        return await stage.journalled() > 0

    await eventually(under_way)
    process.send_signal(signal.SIGINT)
    stopped = await backfill.result(process)

    assert stopped.code == 130
    assert "more is left; to resume: reconciler backfill --apply --yes" in stopped.out
    (row,) = await stage.passes()
    assert row["cursor"] is not None
    result = await backfill(*APPLY, "--missing", "fail", "--json")
    assert result.json["pass_id"] == str(row["id"])
    assert result.json["scanned"] == ROWS == total(result)
    await everything_is_right(stage)


async def test_a_lost_connection_ends_it_and_the_same_command_goes_on(
    backfill: Command, stage: Stage
) -> None:
    host, _, port = backfill.environment["TEMPORAL_ADDRESS"].rpartition(":")
    async with proxy(host, int(port)) as between:
        away = f"127.0.0.1:{between.port}"
        process = await backfill.start(
            *APPLY, "--missing", "fail", "--max-rps", SLOWLY, TEMPORAL_ADDRESS=away
        )

        async def under_way() -> bool:
            return await stage.journalled() > 0

        await eventually(under_way)
        between.refuse()
        cut_off = await backfill.result(process)

    assert cut_off.code == 4
    assert "is unreachable" in cut_off.err
    assert "more is left; to resume: " in cut_off.out
    result = await backfill(*APPLY, "--missing", "fail", "--json")
    assert result.json["scanned"] == ROWS == total(result)
    await everything_is_right(stage)


async def test_a_limit_of_changes_is_kept_exactly_and_the_same_command_goes_on(
    backfill: Command, stage: Stage
) -> None:
    options = (*APPLY, "--missing", "fail", "--max-changes", "39")
    for piece in (39, 78):
        result = await backfill(*options)

        assert result.code == 3
        assert "more is left; to resume: " in result.out
        assert await stage.journalled() == piece

    last = await backfill(*options, "--json")

    assert last.code == 0
    assert last.json["more_left"] is False
    assert last.json["scanned"] == ROWS == total(last)
    await everything_is_right(stage)


async def test_a_limit_of_rows_makes_pieces_of_the_window(backfill: Command, stage: Stage) -> None:
    first = await backfill(*APPLY, "--missing", "fail", "--limit", "50", "--json")
    second = await backfill(*APPLY, "--missing", "fail", "--json")

    assert first.json["scanned"] == 50 == total(first)
    assert first.json["more_left"] is True
    assert second.json["scanned"] == ROWS == total(second)
    await everything_is_right(stage)


async def test_restart_begins_anew(backfill: Command, stage: Stage) -> None:
    await backfill(*APPLY, "--max-changes", "10")

    result = await backfill(*APPLY, "--restart", "--json")

    first, second = await stage.passes()
    assert result.json["pass_id"] == str(second["id"]) != str(first["id"])
    assert result.json["scanned"] == ROWS - 10
    assert first["cursor"] is None, "nothing resumes it"


async def test_an_age_means_what_it_meant_when_the_pass_began(
    backfill: Command, stage: Stage
) -> None:
    await backfill(*APPLY, "--until", "1m", "--max-changes", "10", "--json")
    (begun,) = await stage.passes()

    await backfill(*APPLY, "--until", "1m", "--json")

    (row,) = await stage.passes()
    assert row["asked"] == begun["asked"]
    assert row["outcome"] == "ok"


async def test_two_at_a_time_do_not_fight(backfill: Command, stage: Stage) -> None:
    slow = await backfill.start(*APPLY, "--max-rps", "1")

    async def holds_the_lease() -> bool:
        return bool(await stage.database.fetch("SELECT 1 FROM reconciler.lease"))

    await eventually(holds_the_lease)
    # It waits longer than the lease of a dead one would last: see unit/app/test_hold_lease.py.
    second = await replace(backfill, limits={"reconciler.app.hold_lease.PATIENCE": 1})(*APPLY)
    slow.send_signal(signal.SIGTERM)
    await asyncio.wait_for(slow.communicate(), PATIENCE)

    assert second.code == 4
    assert "is already running elsewhere" in second.err
    assert len(await stage.passes()) == 1
    assert (await backfill(*APPLY)).code == 0


async def test_killed_before_its_first_page_is_done_it_is_gone_on_with_too(
    backfill: Command, stage: Stage
) -> None:
    process = await backfill.start(*APPLY, "--max-rps", "1")

    async def begun() -> bool:
        return bool(await stage.passes())

    await eventually(begun)
    process.kill()
    await process.communicate()
    await forget_the_dead(stage)

    result = await backfill(*APPLY, "--json")

    (row,) = await stage.passes()
    assert result.json["pass_id"] == str(row["id"])
    assert result.json["scanned"] == ROWS == total(result)


async def test_after_an_undo_of_a_piece_the_same_command_begins_anew(
    backfill: Command, stage: Stage
) -> None:
    piece = await backfill(*APPLY, "--missing", "fail", "--max-changes", "50", "--json")
    undone = await backfill("undo", piece.json["pass_id"], "--json")
    assert undone.json["written"]["running"] == 50

    result = await backfill(*APPLY, "--missing", "fail", "--json")

    assert result.json["pass_id"] != piece.json["pass_id"]
    assert result.json["scanned"] == ROWS == total(result)
    assert await stage.statuses() == {"failed": ROWS // 20 * 19, "running": ROWS // 20}


SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$;"
    "CREATE TRIGGER slow BEFORE UPDATE ON workflow_executions FOR EACH ROW"
    " EXECUTE FUNCTION slow()"
)
WRITING = (
    "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
)
STOLEN = (
    "UPDATE reconciler.lease SET holder = 'another', epoch = epoch + 1, expires_at = 'infinity'"
)


@pytest.mark.parametrize("planned", [False, True], ids=["a window", "a plan"])
async def test_a_suspended_one_whose_lease_is_gone_reports_what_it_has_done_when_it_wakes_up(
    backfill: Command, stage: Stage, planned: bool
) -> None:
    command = ["backfill", "--apply", "--yes", "--json"]
    if planned:
        assert (await backfill("backfill", "--output", "plan.jsonl")).code == 0
        command += ["--plan", "plan.jsonl"]
        # Some of the rows take their time.
        await stage.database.execute(SLOW)
    claiming = replace(backfill, limits={"reconciler.app.lease.CLAIM_EVERY": 0.5})
    process = await claiming.start(*command, *([] if planned else ["--max-rps", SLOWLY]))

    async def under_way() -> bool:
        return await stage.journalled() > 0

    async def stolen() -> bool:
        """False if it holds the lease's row: then it has to go on first."""
        process.send_signal(signal.SIGSTOP)
        try:
            await stage.database.execute(f"SET LOCAL lock_timeout = '100ms'; {STOLEN}")
        except asyncpg.LockNotAvailableError:
            return False
        finally:
            process.send_signal(signal.SIGCONT)
        return True

    await eventually(under_way)
    await eventually(stolen)
    awake = await backfill.result(process)

    assert awake.code == 4
    assert "the lease was lost on the way" in awake.err.splitlines()[-1]
    (row,) = await stage.passes()
    assert awake.json["pass_id"] == str(row["id"])
    assert awake.json["written"]["failed"] == await stage.journalled() > 0
    assert total(awake) == awake.json["scanned"]
    assert awake.json["outcome"] == row["outcome"] == "aborted"
    assert "the lease was lost on the way" in str(row["error"])
    assert row["cursor"] is not None
    await forget_the_dead(stage)
    await stage.database.execute("DROP FUNCTION IF EXISTS slow CASCADE")
    rest = await backfill(*command)
    assert (rest.code, rest.json["pass_id"]) == (0, awake.json["pass_id"])


async def test_one_that_is_suspended_while_it_writes_holds_no_row_for_long(
    backfill: Command, stage: Stage
) -> None:
    await stage.database.execute(SLOW)
    hurried = replace(backfill, limits={"reconciler.postgres.connection.engine.IDLE_TIMEOUT": 200})
    process = await hurried.start("backfill", "--apply", "--yes", "--json")

    async def writing() -> bool:
        return bool(await stage.database.fetch(WRITING))

    await eventually(writing)
    process.send_signal(signal.SIGSTOP)
    # The application's write waits for a row that the suspended process has locked.
    await stage.database.execute("DROP TRIGGER slow ON workflow_executions")
    await stage.database.execute("UPDATE workflow_executions SET status = 'completed'")
    process.send_signal(signal.SIGCONT)
    awake = await backfill.result(process)

    assert awake.code == 0, awake.err
    assert awake.json["lost_races"] > 0
    assert await stage.journalled() == 0
    assert await stage.statuses() == {"completed": ROWS}


async def test_stopped_while_it_waits_for_the_lease_it_reports_what_was_done_before(
    backfill: Command, stage: Stage
) -> None:
    begun = await backfill(*APPLY, "--max-changes", "10", "--json")
    await stage.database.execute(STOLEN)
    before = await stage.passes()
    process = await backfill.start(*APPLY, "--json")
    assert process.stderr is not None
    await process.stderr.readuntil(b"lease_awaited")
    process.send_signal(signal.SIGTERM)
    stopped = await backfill.result(process)

    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "reconciler: interrupted"
    assert stopped.json["outcome"] == "aborted"
    for of in ("pass_id", "written", "scanned"):
        assert stopped.json[of] == begun.json[of]
    assert await stage.passes() == before
