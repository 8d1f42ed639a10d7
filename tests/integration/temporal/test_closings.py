"""Lists of closings of a real server: what they show, in which order, and where they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.service import RPCError

from reconciler.core.errors import FeedOff, Unusable
from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.model import CloseStatus
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe import closings as closings_module
from reconciler.temporal.observe.closings import VisibilityClosings
from tests.support.network.gateway import gateway
from tests.support.polling import eventually
from tests.support.temporal.world import World

NEWEST = Listing(floor=None, size=1000, pages=1)
AT_ONCE = RetryPolicy(maximum_attempts=3, initial_interval=timedelta(milliseconds=1))


async def terminated(client: Client, workflow_id: str) -> str:
    """Start and terminate a workflow; returns its run id."""
    handle = await client.start_workflow(
        "Scripted", args=["wait", ""], id=workflow_id, task_queue="nobody"
    )
    await handle.terminate()
    return handle.first_execution_run_id or ""


async def own(
    world: World, status: CloseStatus, count: int, asked: Listing = NEWEST
) -> Sequence[Closing]:
    """The closings of this test's workflows, as soon as there are `count` of them."""
    found: Sequence[Closing] = ()

    async def are_shown() -> bool:
        nonlocal found
        listed = await VisibilityClosings(world.rpc).read("default", status, asked)
        found = [each for each in listed.closings if each.workflow_id.startswith(world.workflow_id)]
        return len(found) >= count

    await eventually(are_shown)
    return found


async def test_a_closing_of_each_status_is_listed_under_it_alone(world: World) -> None:
    ids = {status: f"{world.workflow_id}/{status}" for status in CloseStatus}
    await terminated(world.client, ids[CloseStatus.TERMINATED])
    await world.start("complete", id=ids[CloseStatus.COMPLETED])
    await world.start("fail", id=ids[CloseStatus.FAILED])
    await (await world.start("wait", id=ids[CloseStatus.CANCELED])).cancel()
    timeout = timedelta(seconds=1)
    await world.start("wait", id=ids[CloseStatus.TIMED_OUT], run_timeout=timeout)

    for status, workflow_id in ids.items():
        (closing,) = await own(world, status, 1)

        one = World(world.client, "", workflow_id)
        assert closing.workflow_id == workflow_id
        described = (await one.describe()).workflow_execution_info
        assert closing.run_id == described.execution.run_id
        # The store keeps microseconds, rounded; a description is cut to them.
        assert abs(closing.closed_at - await one.close_time()) <= timedelta(microseconds=1)


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pages_of_any_size_give_the_same_closings_newest_first(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The workflows end at the same time, or nearly so."""
    runs = await asyncio.gather(
        *(terminated(world.client, f"{world.workflow_id}/{number}") for number in range(12))
    )
    whole = await own(world, CloseStatus.TERMINATED, len(runs))
    oldest = whole[-1].closed_at

    for growth in (1, 10):
        monkeypatch.setattr(closings_module, "GROWTH", growth)
        asked = Listing(floor=oldest, size=size, pages=20)
        assert await own(world, CloseStatus.TERMINATED, len(runs), asked) == whole

    assert {each.run_id for each in whole} == set(runs)
    assert [each.closed_at for each in whole] == sorted(
        (each.closed_at for each in whole), reverse=True
    )
    third = whole[3].closed_at
    asked = Listing(floor=third, size=size, pages=20)
    since = await own(world, CloseStatus.TERMINATED, 1, asked)
    assert since == [each for each in whole if each.closed_at >= third]


class TestChains:
    """A closing is of a run: its chain may have gone on."""

    async def test_a_run_that_continued_as_new_is_not_listed(self, world: World) -> None:
        await world.ended(await world.start("continue once"))

        (closing,) = await own(world, CloseStatus.COMPLETED, 1)

        last = (await world.describe()).workflow_execution_info
        assert closing.run_id == last.execution.run_id
        for status in CloseStatus:
            assert len(await own(world, status, 0)) == (status is CloseStatus.COMPLETED)

    async def test_attempts_that_were_retried_are_listed(self, world: World) -> None:
        await world.ended(await world.start("fail until the third attempt", retry_policy=AT_ONCE))

        assert len(await own(world, CloseStatus.COMPLETED, 1)) == 1
        assert len(await own(world, CloseStatus.FAILED, 2)) == 2

    async def test_ticks_of_a_cron_schedule_are_listed(self, world: World) -> None:
        await world.start("complete", cron_schedule="@every 1s")

        assert await own(world, CloseStatus.COMPLETED, 2)
        assert not await own(world, CloseStatus.TERMINATED, 0)


@pytest.fixture
async def other(temporal: Client) -> Client:
    """A new namespace."""
    name = f"closings-{uuid4().hex[:8]}"
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=name, workflow_execution_retention_period=Duration(seconds=24 * 3600)
        )
    )
    client = Client(temporal.service_client, namespace=name)

    async def is_registered() -> bool:
        try:
            await terminated(client, "first")
        except RPCError:  # a new namespace takes a moment to become known
            return False
        return True

    await eventually(is_registered)
    return client


async def test_each_namespace_has_its_own_closings(world: World, other: Client) -> None:
    closings = VisibilityClosings(world.rpc)

    async def is_shown() -> bool:
        listed = await closings.read(other.namespace, CloseStatus.TERMINATED, NEWEST)
        return [each.workflow_id for each in listed.closings] == ["first"]

    await eventually(is_shown)
    for status in set(CloseStatus) - {CloseStatus.TERMINATED}:
        assert await closings.read(other.namespace, status, NEWEST) == Listed([], complete=True)
    with pytest.raises(FeedOff, match="has no namespace 'nowhere'"):
        await closings.read("nowhere", CloseStatus.COMPLETED, NEWEST)


async def test_a_configured_namespace_that_does_not_exist_is_no_matter_of_the_feed(
    temporal: Client,
) -> None:
    rpc = Rpc(Client(temporal.service_client, namespace="nowhere"), RateLimiter(0))

    with pytest.raises(Unusable, match="has no namespace 'nowhere'"):
        await VisibilityClosings(rpc).read("nowhere", CloseStatus.COMPLETED, NEWEST)


async def test_a_server_that_cannot_list_turns_the_feed_off(temporal_address: str) -> None:
    async with gateway(temporal_address, key="right") as gate:
        gate.unimplemented = "ListWorkflowExecutions"
        target = {"target_host": gate.address, "namespace": "default"}
        rpc, _ = await connect({**target, "api_key": "right", "tls": False}, 0)

        with pytest.raises(FeedOff, match=r"^Temporal does not list closings \(unimpl"):
            await VisibilityClosings(rpc).read("default", CloseStatus.COMPLETED, NEWEST)
