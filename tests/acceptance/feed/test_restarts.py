"""Processes that start, end and are killed at any moment: nothing is lost or written twice."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.support.commands.daemon import SHORT_LEASE
from tests.support.commands.scene import Scene
from tests.support.polling import eventually

pytestmark = pytest.mark.long

#: Replicas that are killed do not hold the lease for long.
SHORTER_LEASE = {**SHORT_LEASE, "reconciler.app.lease.LEASE_TIME": 3}


async def test_a_cold_start_leaves_no_gap(scene: Scene) -> None:
    async with scene.traffic():
        await asyncio.sleep(0.2)
        async with scene.following():
            pass
        before = len(await scene.changes())
    await scene.settled()
    found = await scene.found_by()
    assert before > 0
    assert set(found) <= {"scan", "feed"}
    await scene.verify()


async def test_marks_survive_a_restart(scene: Scene) -> None:
    """What closed while nothing ran is found by the feed, without a pass over every row."""
    async with scene.following() as running:
        first = await scene.start_with_row("first")
        await first.terminate()
        await eventually(scene.finished())
        assert await running.stop() == 0
    rows = [await scene.start_with_row(f"down {number}") for number in range(5)]
    for handle in rows[1:]:
        await handle.terminate()
    scene.seen.described.clear()

    async with scene.following() as running:
        await eventually(scene.finished(*rows[1:]))
        assert await running.stop() == 0

    assert await scene.found_by() == {"feed": 5}
    await scene.verify()


async def test_replicas_that_are_killed_at_random_moments(scene: Scene) -> None:
    """Another one takes over each time, and the one that was killed comes back."""
    moments = random.Random(17)  # noqa: S311
    scene.command = replace(scene.command, limits=SHORTER_LEASE)
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(scene.following())
        await stack.enter_async_context(scene.traffic())
        for _ in range(2):
            other = await stack.enter_async_context(scene.replica())
            await eventually(other.stands_by)
            await asyncio.sleep(moments.uniform(0, 2))
            holder.send(signal.SIGKILL)
            await holder.ended()
            await other.said("row_finished")
            holder = other
        handle = await scene.start_with_row("last")
        await handle.terminate()
        await eventually(scene.finished(handle))
        assert await holder.stop() == 0
    await scene.settled()
    assert set(await scene.found_by()) <= {"feed", "sweep"}, "no pass over every row"
    await scene.verify()
