"""What a visibility that is late, wrong, unsorted, silent or refuses does to the feed: no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.commands.daemon import HURRIED
from tests.support.commands.scene import FEED_ALONE, Scene
from tests.support.network.frontend import HANG
from tests.support.network.visibility import Visibility
from tests.support.polling import eventually

#: After a failure, lists are made again sooner.
SOON = {
    **HURRIED,
    "reconciler.passes.feed.namespace.RETRY": 0.3,
    "reconciler.passes.feed.namespace.LAST_RETRY": 1,
}
#: The sweep describes every row within seconds.
SWEEPING = {"RECONCILER_INTERVAL": "1s", "RECONCILER_FULL_SWEEP_INTERVAL": "3s"}
COUNT = 6


async def test_closings_that_are_shown_late_and_in_another_order(scene: Scene) -> None:
    scene.seen.lag = 4
    async with scene.following():
        for number in range(3 * COUNT):
            handle = await scene.start_with_row(f"{number}", "wait" if number % 2 else "fail")
            if number % 2:
                await handle.terminate()
        await eventually(scene.finished())

    assert await scene.found_by() == {"feed": 3 * COUNT}
    await scene.verify()


async def test_a_closing_that_is_never_shown_is_found_by_the_sweep(scene: Scene) -> None:
    async with scene.following(**SWEEPING):
        handle = await scene.start_with_row("hidden")
        scene.seen.hidden.add(handle.id)
        await handle.terminate()
        await eventually(scene.finished())

    assert await scene.found_by() == {"sweep": 1}
    await scene.verify()


async def test_outages(scene: Scene) -> None:
    """What closes meanwhile is found afterwards; visibility's own limit is an outage as well."""
    scene.command = replace(scene.command, limits=SOON)
    async with scene.following() as running:
        for outage in ("UNAVAILABLE", HANG, "RESOURCE_EXHAUSTED"):
            scene.seen.fail(outage)
            await scene.lists(1)
            handles = [await scene.start_with_row(f"{outage} {number}") for number in range(COUNT)]
            for handle in handles:
                await handle.terminate()
            await scene.lists(COUNT)
            assert await scene.open_rows() == COUNT
            scene.seen.recover(backlog=2)
            await eventually(scene.finished())
        assert running.logged("feed_off") == []

    assert await scene.found_by() == {"feed": 3 * COUNT}
    await scene.verify()


async def test_more_closings_than_a_poll_can_list(scene: Scene) -> None:
    """A pass over every row finds them, and the feed what closes from then on."""
    scene.seen.largest_page = 1
    scene.command = replace(scene.command, limits={**SOON, "reconciler.daemon.loop.SOON": 1})
    async with scene.following() as running:
        handles = [await scene.start_with_row(f"{number}") for number in range(4 * COUNT)]
        scene.seen.fail("UNAVAILABLE")
        await scene.lists(1)
        for handle in handles:
            await handle.terminate()
        scene.seen.recover()
        await running.said("feed_behind")
        await eventually(scene.finished())
        before = await scene.found_by()
        later = await scene.start_with_row("later")
        await later.terminate()
        await eventually(scene.finished())

    assert before["scan"] > 0
    assert await scene.found_by() == before + Counter(feed=1)
    await scene.verify()


def be_unsorted(seen: Visibility) -> None:
    seen.is_unsorted = True


def refuse(code: str) -> Callable[[Visibility], None]:
    def refusing(seen: Visibility) -> None:
        seen.refusal = code

    return refusing


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(be_unsorted, id="unsorted"),
        pytest.param(refuse("INVALID_ARGUMENT"), id="rejected"),
        pytest.param(refuse("UNIMPLEMENTED"), id="unknown"),
        pytest.param(refuse("PERMISSION_DENIED"), id="forbidden"),
    ],
)
async def test_where_the_feed_cannot_be_followed_passes_take_over(
    scene: Scene, fail: Callable[[Visibility], None]
) -> None:
    for number in range(2):  # a single one is always sorted
        await (await scene.start(f"before {number}")).terminate()
    intervals = {**SWEEPING, "RECONCILER_FULL_SWEEP_INTERVAL": "365d"}
    async with scene.following(**intervals) as running:
        fail(scene.seen)
        await running.said("feed_off", namespace=scene.client.namespace)
        await scene.passed(len(await scene.passes("run")) + 1)  # the one that has begun before
        for number in range(COUNT):
            handle = await scene.start_with_row(f"{number}")
            await handle.terminate()
        await eventually(scene.finished())
        await running.said("feed_off")  # by the second poll: the first lists one closing
        await scene.passed(len(await scene.passes("run")) + 2)
        assert len(running.logged("feed_off")) == 1
        here = scene.client.namespace
        assert await running.metric("reconciler_feed_off", temporal_namespace=here) == 1
        assert await running.metric("reconciler_found_total", by="scan") == COUNT
        why = (await running.get("/readyz")).json()["feed"]
        assert why.startswith(f"namespace {here}: ")

    assert await scene.found_by() == {"scan": COUNT}
    await scene.verify()


async def test_it_is_off_from_the_start(scene: Scene) -> None:
    """A cold start at such a visibility comes to an end as well."""
    be_unsorted(scene.seen)
    for number in range(COUNT):
        await (await scene.start_with_row(f"{number}")).terminate()
    async with scene.following(**{**FEED_ALONE, "RECONCILER_INTERVAL": "1s"}) as running:
        await eventually(scene.finished())
        await running.said("feed_off")  # by the second poll: the first lists one closing
        await scene.passed(len(await scene.passes("run")) + 2)
        assert len(running.logged("feed_off")) == 1
    await scene.verify()


async def test_a_visibility_that_is_sorted_again_is_followed_again(scene: Scene) -> None:
    limits = {"reconciler.passes.feed.namespace.OFF_FOR": 1, "reconciler.daemon.loop.SOON": 1}
    scene.command = replace(scene.command, limits=limits)
    await (await scene.start("first")).terminate()
    await (await scene.start("second")).terminate()
    be_unsorted(scene.seen)
    async with scene.following() as running:
        await running.said("feed_off")
        # The first poll, of one closing each, was in order, and may have been followed by a pass.
        await scene.database.execute("DELETE FROM reconciler.closings")
        scene.seen.is_unsorted = False
        await eventually(scene.has_marks)
        handle = await scene.start_with_row("third")
        await handle.terminate()
        await eventually(scene.finished())

    assert await scene.found_by() == {"feed": 1}
