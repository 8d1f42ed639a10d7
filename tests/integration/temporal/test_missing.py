"""What Temporal does not know, what it rejects, and what ends the whole pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from reconciler.core.errors import ConfigurationError, TemporalUnusable
from reconciler.core.model import Missing, Open, RunRow, Unknown
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.probe import TemporalProbe
from tests.support.network.silent import silent_server
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace
from tests.support.temporal.world import World

EARLIER = datetime.now(UTC) - timedelta(hours=1)
RETENTION = timedelta(seconds=4)


def a_row(workflow_id: str, run_id: str | None = None) -> RunRow:
    return RunRow(1, workflow_id, run_id, datetime.now(UTC))


@pytest.mark.parametrize("run_id", [None, str(uuid4())], ids=["no run id", "unknown run id"])
async def test_never_started(world: World, run_id: str | None) -> None:
    assert await world.observe(a_row(world.workflow_id, run_id)) == Missing()


async def test_deleted(world: World) -> None:
    of = await world.ended(await world.start("complete"))
    assert of.run_id is not None
    await world.delete(of.run_id)

    assert await world.observe(of) == Missing()


async def test_a_namespace_without_an_archive_is_not_asked_for_a_history(world: World) -> None:
    of = await world.ended(await world.start("complete"))
    assert of.run_id is not None
    await world.delete(of.run_id)
    asking = TemporalProbe(world.rpc, ask_archive=True)
    await asking.retention()
    before = world.rpc.counts.copy()

    assert await asking.observe(of) == Missing()
    assert world.rpc.counts - before == {"describe": 2}


async def test_another_run_of_a_known_id_is_missing(world: World) -> None:
    earlier = replace(a_row(world.workflow_id, str(uuid4())), created_at=EARLIER)
    await world.start("wait")

    assert await world.observe(earlier) == Missing()


async def test_a_run_that_may_belong_to_the_current_chain_may_not_be_missing(
    world: World,
) -> None:
    await world.start("wait")

    assert await world.observe(a_row(world.workflow_id, str(uuid4()))) == Missing(
        "run not found, id in use", id_in_use=True
    )


@pytest.mark.parametrize(
    ("workflow_id", "run_id"),
    [
        pytest.param("", None, id="empty workflow id"),
        pytest.param("x" * 10_000, None, id="10,000 characters"),
        pytest.param("never-started", "not-a-run-id", id="malformed run id"),
        pytest.param("never-started", "", id="empty run id"),
        pytest.param("never-started", "x" * 10_000, id="10,000 characters of run id"),
    ],
)
async def test_an_impossible_row_never_raises(
    world: World, workflow_id: str, run_id: str | None
) -> None:
    assert isinstance(await world.observe(a_row(workflow_id, run_id)), Unknown | Missing)


async def test_a_malformed_run_id_beside_a_real_workflow_is_unknown(world: World) -> None:
    await world.start("wait")

    observed = await world.observe(a_row(world.workflow_id, "not-a-run-id"))

    assert observed == Unknown("invalid_argument: Invalid RunId.")


async def test_expired_by_retention(temporal: Client, task_queue: str, workflow_id: str) -> None:
    short = await new_namespace(temporal, "short", RETENTION)
    world = World(short, task_queue, workflow_id)
    handle = await world.start("wait")
    await handle.terminate()
    of = world.row(handle)

    async def expired() -> bool:
        return await world.observe(of) == Missing()

    await eventually(expired)


async def test_an_absent_namespace_does_not_make_workflows_missing(temporal: Client) -> None:
    client = Client(temporal.service_client, namespace="no-such-namespace")
    probe = TemporalProbe(Rpc(client, RateLimiter(0)))

    with pytest.raises(TemporalUnusable, match=r"no namespace 'no-such-namespace'.*TEMPORAL_NAME"):
        await probe.observe(a_row("any"))


class TestConnect:
    async def test_it_returns_the_namespaces_retention(self, temporal_address: str) -> None:
        rpc, namespace = await connect(
            {"target_host": temporal_address, "namespace": "default"}, 100
        )

        assert namespace.name == "default"
        assert namespace.retention == timedelta(days=1)
        assert namespace.capabilities
        assert rpc.counts["describe"] == 0

    async def test_every_call_has_an_identity_and_low_priority(self, temporal_address: str) -> None:
        rpc, _ = await connect(
            {"target_host": temporal_address, "rpc_metadata": {"mine": "kept"}}, 100
        )

        config = rpc.client.service_client.config
        assert config.rpc_metadata == {"mine": "kept", "caller-type": "preemptable"}
        assert config.identity.startswith("reconciler@")

    async def test_absent_namespace(self, temporal_address: str) -> None:
        with pytest.raises(TemporalUnusable, match="has no namespace 'nowhere'"):
            await connect({"target_host": temporal_address, "namespace": "nowhere"}, 100)

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("127.0.0.1:1", "Connection refused"),
            ("no-such-host.invalid:7233", "failed to lookup address information: .*"),
        ],
    )
    async def test_no_server(self, address: str, reason: str) -> None:
        problem = rf"{address} is unreachable \({reason}\): check TEMPORAL_ADDRESS"
        with pytest.raises(TemporalUnusable, match=problem):
            await connect({"target_host": address}, 100)

    async def test_an_impossible_address(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"at h:99999 cannot be reached .*port.*\): check TEMPORAL_"
        ):
            await connect({"target_host": "h:99999"}, 100)

    async def test_a_silent_peer_times_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "reconciler.temporal.client.connect.CONNECT_TIMEOUT", timedelta(seconds=1)
        )

        async with silent_server() as silent:
            with pytest.raises(TemporalUnusable, match="did not answer within 1 s"):
                await connect({"target_host": f"127.0.0.1:{silent.port}"}, 100)


async def test_an_open_workflow_costs_one_call(world: World) -> None:
    of = world.row(await world.start("wait"))
    before = world.rpc.counts.copy()

    assert await world.observe(of) == Open("RUNNING")
    assert world.rpc.counts - before == {"describe": 1}
