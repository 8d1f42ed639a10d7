"""A backfill by workers in processes of their own adds up to what one pass would count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.fleet.messages import RANGE_ROWS
from tests.support.commands.fleet import SPEED, Fleet

PIECES = 15
#: In each piece of 200 rows.
CLOSED, OPEN, MISSING = 150, 30, 20


@pytest.fixture
async def many(fleet: Fleet) -> Fleet:
    """3,000 rows."""
    closed, still_open = await fleet.stage.closed(), await fleet.stage.start("open")
    for _ in range(PIECES):
        await fleet.stage.insert(closed, CLOSED)
        await fleet.stage.insert(still_open, OPEN)
        await fleet.stage.insert_missing(MISSING)
    return fleet


@pytest.mark.long
async def test_thirty_ranges_in_six_runs(many: Fleet) -> None:
    async with many.worker():
        handle = await many.start()
        result = await handle.result()

    assert await many.stage.statuses() == {
        "failed": PIECES * CLOSED,
        "running": PIECES * (OPEN + MISSING),
    }
    assert await many.stage.journalled() == PIECES * CLOSED
    report = result.report
    assert report["scanned"] == 3000
    assert report["written"] == {"completed": 0, "failed": PIECES * CLOSED}
    assert (report["left"]["open"], report["left"]["expired"]) == (PIECES * OPEN, PIECES * MISSING)
    assert (report["lost_races"], report["outcome"], report["more_left"]) == (0, "ok", False)
    assert result.totals.ranges == 30
    (recorded,) = await many.stage.passes()
    assert str(recorded["id"]) == report["pass_id"] == handle.first_execution_run_id
    assert (recorded["mode"], recorded["outcome"], recorded["cursor"]) == ("backfill", "ok", None)
    undone = await many.command("undo", str(recorded["id"]))
    assert undone.code == 0, undone.err
    assert await many.stage.statuses() == {"running": 3000}


async def test_few_rows_are_cut_into_smaller_ranges_so_that_no_worker_is_idle(fleet: Fleet) -> None:
    await fleet.stage.insert(await fleet.stage.closed(), 1200)
    async with fleet.worker():
        handle = await fleet.start(replace(SPEED, range_rows=RANGE_ROWS, ranges_per_run=200))
        result = await handle.result()

    assert (result.report["scanned"], result.totals.ranges) == (1200, 8)
    assert await fleet.stage.journalled() == 1200


CLAIMS = """
    CREATE TABLE claims (again boolean);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO claims VALUES (NEW.expires_at > OLD.expires_at); RETURN NEW; END $$;
    CREATE TRIGGER note AFTER UPDATE ON reconciler.lease FOR EACH ROW EXECUTE FUNCTION note()
"""


async def test_every_range_claims_the_lease_of_all_and_only_the_end_releases_it(
    fleet: Fleet,
) -> None:
    await fleet.stage.database.execute(CLAIMS)
    await fleet.stage.insert(await fleet.stage.closed(), 250)
    async with fleet.worker():
        result = await (await fleet.start()).result()

    assert (result.totals.ranges, result.report["outcome"]) == (3, "ok")
    claims = [row["again"] for row in await fleet.stage.database.fetch("SELECT again FROM claims")]
    assert claims.count(True) >= 3
    assert claims.count(False) == 1


async def test_a_dry_run_writes_nothing(fleet: Fleet) -> None:
    stage = fleet.stage
    await stage.insert(await stage.closed(), 40)
    await stage.insert(await stage.start("open"), 20)
    before = await stage.contents()
    async with fleet.worker():
        result = await (await fleet.start(dry_run=True)).result()

    assert await stage.contents() == before
    report = result.report
    assert (report["dry_run"], report["written"]["failed"], report["left"]["open"]) == (
        True,
        40,
        20,
    )


async def test_a_table_without_running_rows(fleet: Fleet) -> None:
    async with fleet.worker():
        result = await (await fleet.start()).result()

    assert (result.report["scanned"], result.report["outcome"]) == (0, "ok")
    assert [row["outcome"] for row in await fleet.stage.passes()] == ["ok"]
