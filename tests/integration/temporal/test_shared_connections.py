"""Several targets over one connection to a real Temporal, and under common limits."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client

from reconciler.core.errors import TemporalUnusable
from reconciler.temporal.client.connect import Connections, Route
from reconciler.temporal.client.error_codes import NotFound
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.config.load import load_config
from tests.support.network.gateway import gateway
from tests.support.network.proxy import Proxy, proxy
from tests.support.network.silent import silent_server
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace

#: One call in a hundred seconds.
HARDLY = 0.01


@pytest.fixture
async def front(temporal_address: str) -> AsyncIterator[Proxy]:
    """A proxy in front of Temporal, which counts its clients."""
    host, _, port = temporal_address.rpartition(":")
    async with proxy(host, int(port)) as front:
        yield front


def to(port: int, namespace: str = "default", max_rps: float = 0, **given: Any) -> Route:
    config = {"target_host": f"127.0.0.1:{port}", "namespace": namespace}
    return Route(config, max_rps, **given)


async def ask(rpc: Rpc) -> None:
    with pytest.raises(NotFound):  # which is an answer
        await rpc.describe("never-started")


async def test_targets_that_differ_in_their_namespaces_share_a_connection(
    temporal: Client, front: Proxy
) -> None:
    other = await new_namespace(temporal, "shared")
    namespaces = ["default", "default", other.namespace, other.namespace, "default"]
    routes = [to(front.port, each) for each in namespaces]
    connections = Connections(routes)
    async with AsyncExitStack() as stack:
        opening = [stack.enter_async_context(connections.open(each)) for each in routes]
        opened = await asyncio.gather(*opening)

        assert [namespace.name for _, namespace in opened] == namespaces
        for rpc, _ in opened:
            await ask(rpc)
        assert front.connections == 1
        del opened, rpc, opening

    async def is_closed() -> bool:
        await temporal.service_client.check_health()  # the SDK may keep a failed call until another
        gc.collect()
        return front.connections == 0

    await eventually(is_closed)


async def test_other_credentials_are_another_connection(front: Proxy) -> None:
    one, other = to(front.port), to(front.port)
    other = Route({**other.config, "rpc_metadata": {"tenant": "other"}}, 0)
    connections = Connections([one, other])
    async with connections.open(one), connections.open(other):
        assert front.connections == 2


async def test_a_connection_lasts_as_long_as_its_last_user(front: Proxy) -> None:
    route = to(front.port)
    connections = Connections([route])
    async with connections.open(route) as (first, _):
        async with connections.open(route) as (second, _):
            pass
        await ask(first)
        assert first.client.service_client is second.client.service_client
    async with connections.open(route) as (third, _):
        assert third.client.service_client is not first.client.service_client


async def test_a_silent_address_holds_up_nobody_else(front: Proxy) -> None:
    async with silent_server() as silent:
        dead, good = to(silent.port), to(front.port)
        connections = Connections([dead, good])
        waiting = asyncio.create_task(_enter(connections, dead))
        await silent.connected.wait()
        async with connections.open(good) as (rpc, _):
            await ask(rpc)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_targets_wait_for_one_attempt_and_see_its_failure(
    front: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.temporal.client.connect.CONNECT_TIMEOUT", timedelta(seconds=1))
    front.blackhole()
    routes = [to(front.port) for _ in range(3)]
    connections = Connections(routes)
    waiting = [asyncio.create_task(_enter(connections, each)) for each in routes]
    await eventually(lambda: _has(front, 1))
    for failed in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(failed, TemporalUnusable), failed
    assert len(front.links) == 1

    monkeypatch.undo()
    front.heal()
    async with connections.open(routes[0]) as (rpc, _):
        await ask(rpc)


async def test_an_attempt_goes_on_for_those_who_still_wait(front: Proxy) -> None:
    front.delay(0.1)
    route = to(front.port)
    connections = Connections([route, route])
    impatient = asyncio.create_task(_enter(connections, route))
    patient = asyncio.create_task(_enter(connections, route))
    await eventually(lambda: _has(front, 1))
    impatient.cancel()
    await patient
    assert impatient.cancelled()


async def _enter(connections: Connections, route: Route) -> None:
    async with connections.open(route):
        pass


async def _has(front: Proxy, clients: int) -> bool:
    return front.connections == clients


async def test_a_renewed_key_serves_all_targets(temporal_address: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    async with gateway(temporal_address, key="old") as gate:
        variables = {
            "TEMPORAL_ADDRESS": gate.address,
            "TEMPORAL_TLS": "false",
            "TEMPORAL_API_KEY_FILE": str(file),
        }
        routes = [Route(load_config(variables), 0) for _ in range(2)]
        connections = Connections(routes)
        async with connections.open(routes[0]) as (one, _), connections.open(routes[1]) as (two, _):
            gate.key = "new"
            file.write_text("new")
            with capture_logs() as lines:
                await asyncio.gather(ask(one), ask(two))

    assert one.client.service_client is two.client.service_client
    assert [line["event"] for line in lines] == ["api_key_renewed"]


async def test_targets_of_a_namespace_make_calls_under_one_limit(temporal_address: str) -> None:
    port = int(temporal_address.rpartition(":")[2])
    routes = [to(port, max_rps=20, target=name) for name in ("a", "b", "c")]
    connections = Connections(routes)
    async with AsyncExitStack() as stack:
        rpcs = [(await stack.enter_async_context(connections.open(each)))[0] for each in routes]
        began = time.monotonic()
        await asyncio.gather(*(ask(rpc) for rpc in rpcs for _ in range(7)))
        took = time.monotonic() - began

    # Under a limit each it could take a third of that.
    assert took > 20 / 20 - 0.1


async def test_namespaces_have_limits_of_their_own_which_outlive_connections(
    temporal: Client, temporal_address: str
) -> None:
    port = int(temporal_address.rpartition(":")[2])
    other = await new_namespace(temporal, "apart")
    one, two, apart = (
        to(port, name, visibility_rps=HARDLY) for name in ("default", "default", other.namespace)
    )
    connections = Connections([one, two, apart])
    async with connections.open(one) as (rpc, _):
        await rpc.list("WorkflowId = 'any'", 1)
    async with connections.open(two) as (rpc, _), connections.open(apart) as (others, _):
        assert rpc.list_wait > 1
        assert others.list_wait == 0
        await others.list("WorkflowId = 'any'", 1)


async def test_connecting_does_not_wait_for_the_calls_of_other_targets(
    temporal_address: str,
) -> None:
    route = to(int(temporal_address.rpartition(":")[2]), max_rps=HARDLY)
    connections = Connections([route])
    async with connections.open(route) as (one, _), connections.open(route) as (two, _):
        assert (one.counts, two.counts) == ({"namespace": 1}, {"namespace": 1})
