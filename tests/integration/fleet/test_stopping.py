"""Workers that are killed or stopped, and a backfill that is cancelled."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from tests.support.commands.fleet import HURRIED, SPEED, Fleet
from tests.support.polling import eventually

#: In pages of ten rows, and ranges of six pages.
PAGES = 24
CLOSED, OPEN = 9, 1
#: A range takes some seconds.
SLOW = replace(SPEED, max_rps=16, batch_size=10, range_rows=60)


@pytest.fixture
async def slow(fleet: Fleet) -> Fleet:
    """Every page has a row that is left."""
    fleet.command = replace(fleet.command, limits=HURRIED)
    closed, still_open = await fleet.stage.closed(), await fleet.stage.start("open")
    for _ in range(PAGES):
        await fleet.stage.insert(closed, CLOSED)
        await fleet.stage.insert(still_open, OPEN)
    return fleet


async def written(fleet: Fleet, rows: int) -> None:
    async def has() -> bool:
        return await fleet.stage.journalled() >= rows

    await eventually(has)


def everything_is_counted_once(report: Any) -> None:
    assert report["scanned"] == PAGES * (CLOSED + OPEN)
    assert report["written"]["failed"] == PAGES * CLOSED
    assert (report["left"]["open"], report["lost_races"]) == (PAGES * OPEN, 0)


@pytest.mark.long
async def test_the_ranges_of_a_killed_worker_go_on_elsewhere(slow: Fleet) -> None:
    async with slow.worker() as killed:
        handle = await slow.start(SLOW)
        await written(slow, 4 * CLOSED)
        killed.send(signal.SIGKILL)
        await killed.ended()
        async with slow.worker():
            result = await handle.result()

    everything_is_counted_once(result.report)
    assert await slow.stage.journalled() == PAGES * CLOSED


@pytest.mark.long
async def test_the_journal_counts_what_a_worker_wrote_in_the_second_sweep_before_it_was_killed(
    fleet: Fleet,
) -> None:
    limits = {**HURRIED, "reconciler.fleet.process.HEARTBEATS_APART": 60}
    fleet.command = replace(fleet.command, limits=limits)
    fleet.settings = {"missing": "fail", "max_missing_ratio": 1.0}
    for _ in range(PAGES):
        await fleet.stage.insert_missing(CLOSED + OPEN)
    rows = PAGES * (CLOSED + OPEN)
    async with fleet.worker() as killed:
        handle = await fleet.start(SLOW)
        await written(fleet, 4 * (CLOSED + OPEN))  # the first sweep fails none of them
        killed.send(signal.SIGKILL)
        await killed.ended()
        assert await fleet.stage.journalled() < rows
        async with fleet.worker():
            result = await handle.result()

    report = result.report
    assert (report["scanned"], report["written"]["failed"]) == (rows, rows)
    assert (report["lost_races"], sum(report["left"].values())) == (0, 0)
    assert await fleet.stage.journalled() == rows


@pytest.mark.long
async def test_a_worker_that_was_frozen_writes_nothing_that_another_has_written(
    slow: Fleet,
) -> None:
    # It may hold the rows of a page: these have to be free before its range is given to the other.
    limits = {**HURRIED, "reconciler.postgres.connection.engine.IDLE_TIMEOUT": 1000}
    slow.command = replace(slow.command, limits=limits)
    async with slow.worker() as frozen, slow.worker() as other:
        handle = await slow.start(SLOW)
        await written(slow, 4 * CLOSED)
        frozen.send(signal.SIGSTOP)
        result = await handle.result()
        before = await slow.stage.contents()
        frozen.send(signal.SIGCONT)
        assert await frozen.stop() == 0
        assert await other.stop() == 0

    everything_is_counted_once(result.report)
    assert await slow.stage.contents() == before
    assert await slow.stage.journalled() == PAGES * CLOSED


@pytest.mark.long
async def test_a_worker_that_is_stopped_hands_over_how_far_it_came(slow: Fleet) -> None:
    async with slow.worker() as stopped:
        handle = await slow.start(SLOW)
        await written(slow, 8 * CLOSED)
        stopped.send(signal.SIGTERM)
        assert await stopped.ended(10) == 0
        stopped.logged("stopped")
    async with slow.worker():
        result = await handle.result()

    everything_is_counted_once(result.report)
    # Two questions for a page; none is forgotten, and few are asked again.
    assert 2 * PAGES <= result.report["rpcs"]["describe"] <= 2 * PAGES + 4


async def test_a_cancelled_backfill_counts_what_it_has_done(slow: Fleet) -> None:
    async with slow.worker():
        handle = await slow.start(SLOW)
        await written(slow, 2 * CLOSED)
        await handle.cancel()
        await cancelled(handle)
        progress = await slow.progress(handle)

    assert progress.result is not None
    report, journalled = progress.result.report, await slow.stage.journalled()
    assert (report["outcome"], progress.result.stopped) == ("aborted", True)
    assert report["written"]["failed"] == journalled < PAGES * CLOSED
    assert report["scanned"] == journalled + report["left"]["open"]
    (recorded,) = await slow.stage.passes()
    assert (recorded["outcome"], recorded["error"]) == ("aborted", "stopped before its end")
    leases = await slow.stage.database.fetch(
        "SELECT FROM reconciler.lease WHERE expires_at > clock_timestamp()"
    )
    assert not leases


async def test_one_that_is_cancelled_in_its_second_sweep_leaves_the_other_missing_rows(
    fleet: Fleet,
) -> None:
    fleet.settings = {"missing": "fail", "max_missing_ratio": 1.0}
    for _ in range(PAGES):
        await fleet.stage.insert_missing(CLOSED + OPEN)
    rows = PAGES * (CLOSED + OPEN)
    async with fleet.worker():
        handle = await fleet.start(SLOW)
        await written(fleet, 1)  # the first sweep fails none of them
        await handle.cancel()
        await cancelled(handle)
        progress = await fleet.progress(handle)

    assert progress.result is not None
    assert progress.is_second
    report, journalled = progress.result.report, await fleet.stage.journalled()
    assert report["outcome"] == "aborted"
    assert report["written"]["failed"] == journalled < rows
    assert (report["scanned"], report["left"]["expired"]) == (rows, rows - journalled)
    assert await fleet.stage.statuses() == {"failed": journalled, "running": rows - journalled}


async def cancelled(handle: WorkflowHandle[Any, Any]) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
