"""A backfill by workers in processes of their own."""

from __future__ import annotations

from tests.support.commands.fleet import Fleet


async def test_ranges_add_up_to_what_one_pass_would_count(fleet: Fleet) -> None:
    stage = fleet.stage
    closed, still_open = await stage.closed(), await stage.start("open")
    for _ in range(15):
        await stage.insert(closed, 150)
        await stage.insert(still_open, 30)
        await stage.insert_missing(20)
    async with fleet.worker():
        result = await (await fleet.start()).result()

    assert await stage.statuses() == {"failed": 15 * 150, "running": 15 * 50}
    assert await stage.journalled() == 15 * 150
    assert result.report["scanned"] == 3000
    assert result.report["written"] == {"completed": 0, "failed": 15 * 150}
    assert result.report["left"]["open"] == 15 * 30
    assert result.report["left"]["expired"] == 15 * 20
    assert result.totals.ranges == 30
    (recorded,) = await stage.passes()
    assert recorded["outcome"] == "ok"
