"""Minutes of a visibility that is late or down, under steady traffic: `make test-soak`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from tests.support.commands.scene import Scene
from tests.support.polling import eventually

#: Rows that may wait at any moment under the traffic of these tests.
USUAL = 10


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_five_minutes_of_outage(scene: Scene) -> None:
    """Visibility needs half a minute to catch up, and shows closings in any order."""
    async with scene.following() as running, scene.traffic(pause=0.5):
        scene.seen.fail("UNAVAILABLE")
        await asyncio.sleep(300)
        calls, waiting = Counter(scene.seen.calls), await scene.open_rows()
        scene.seen.recover(backlog=30)
        recovered = time.monotonic()

        async def caught_up() -> bool:
            return await scene.open_rows() < USUAL

        await eventually(caught_up, seconds=600)
        seconds = time.monotonic() - recovered
        new = scene.seen.calls - calls
        print(f"5 min: {waiting} rows waited, written in {seconds:.0f} s; calls: {dict(new)}")
        assert running.logged("feed_off") == []
    await scene.settled()
    print(f"found by {dict(await scene.found_by())}")
    await scene.verify()


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_half_a_minute_late(scene: Scene) -> None:
    scene.seen.lag = 30
    async with scene.following(), scene.traffic():
        await asyncio.sleep(90)
        scene.seen.lag = 0
    await scene.settled()
    found = await scene.found_by()
    print(f"30 s late: found by {dict(found)}")
    assert set(found) == {"feed"}
    await scene.verify()
