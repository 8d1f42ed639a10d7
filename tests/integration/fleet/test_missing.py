"""Missing rows: the sum of all ranges decides, and a second sweep fails them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.commands.fleet import SPEED, Fleet

FEW = replace(SPEED, range_rows=20, batch_size=10)


@pytest.fixture
def failing(fleet: Fleet) -> Fleet:
    fleet.settings = {"missing": "fail"}
    return fleet


async def test_few_are_failed_in_a_second_sweep(failing: Fleet) -> None:
    stage = failing.stage
    closed = await stage.closed()
    for _ in range(3):
        await stage.insert(closed, 19)
        await stage.insert_missing(11)
    async with failing.worker():
        result = await (await failing.start(FEW)).result()

    assert await stage.statuses() == {"failed": 90}
    assert await stage.journalled() == 90
    report = result.report
    assert (report["scanned"], report["written"]["failed"], report["held_back"]) == (90, 90, 0)
    assert (report["lost_races"], sum(report["left"].values())) == (0, 0)
    assert report["missing"]["expired"]["rows"] == 33


async def test_too_many_are_held_back(failing: Fleet) -> None:
    """Most of all rows, although few of those of the first range."""
    stage = failing.stage
    await stage.insert(await stage.closed(), 20)
    await stage.insert_missing(40)
    async with failing.worker() as worker:
        result = await (await failing.start(FEW)).result()
        await worker.said("breaker_tripped")

    assert await stage.statuses() == {"failed": 20, "running": 40}
    report = result.report
    assert (report["outcome"], report["held_back"]) == ("unresolved", 40)
    assert (report["scanned"], report["left"]["expired"]) == (60, 40)


async def test_a_dry_run_counts_those_that_it_would_fail(failing: Fleet) -> None:
    stage = failing.stage
    await stage.insert(await stage.closed(), 25)
    await stage.insert_missing(5)
    async with failing.worker():
        result = await (await failing.start(FEW, dry_run=True)).result()

    assert result.report["written"]["failed"] == 30
    assert await stage.statuses() == {"running": 30}
