"""What Temporal no longer knows, told apart on a namespace where workflows really expire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import (
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from reconciler.core.model import Missing
from tests.acceptance.command import Command
from tests.acceptance.stage import Stage
from tests.acceptance.test_backfill import APPLY
from tests.conftest import Database
from tests.polling import eventually
from tests.world import World

RETENTION = timedelta(hours=1)
#: Of rows that have expired, and of rows too young for that.
OLD, YOUNG = timedelta(hours=2), timedelta(minutes=30)


def _duration(of: timedelta) -> Duration:
    return Duration(seconds=int(of.total_seconds()))


@pytest.fixture
async def short_lived(temporal: Client) -> Client:
    """A client of a namespace where closed workflows are gone after a second."""
    namespace = f"short-{uuid4().hex[:8]}"
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=namespace,
            workflow_execution_retention_period=_duration(timedelta(seconds=1)),
        )
    )
    client = Client(temporal.service_client, namespace=namespace)
    probe = Stage(database=None, client=client, prefix="probe")  # type: ignore[arg-type]

    async def known() -> bool:
        try:
            await probe.closed()
        except RPCError:  # a new namespace takes a moment to be known everywhere
            return False
        return True

    await eventually(known, seconds=30)
    return client


@pytest.fixture
async def stage(database: Database, short_lived: Client) -> AsyncIterator[Stage]:
    """A workflow that has expired; and after the retention was raised, one of each other kind."""
    stage = Stage(database, short_lived, "case")
    expired = await stage.closed("expired")
    await stage.insert(expired, age=OLD)
    await stage.insert(expired, age=OLD + timedelta(minutes=5))
    world = World(short_lived, "nobody", expired.id)

    async def gone() -> bool:
        return await world.observe(world.row(expired)) == Missing()

    await eventually(gone, seconds=30)
    await _raise_retention(short_lived)
    await stage.insert_missing(age=YOUNG, started=False)
    await stage.insert(await stage.deleted(), age=YOUNG)
    await stage.insert(await stage.closed("closed"), age=YOUNG)
    yield stage
    await stage.end()


async def _raise_retention(client: Client) -> None:
    """Of workflows that close from now on: what has closed expires as it was going to."""
    config = NamespaceConfig(workflow_execution_retention_ttl=_duration(RETENTION))
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(namespace=client.namespace, config=config)
    )
    stage = Stage(database=None, client=client, prefix="probe")  # type: ignore[arg-type]
    world = World(client, "nobody", "")

    async def in_force() -> bool:
        return (await world.probe.retention()) == RETENTION

    await eventually(in_force, seconds=30)
    # What starts a workflow may know of it later than what describes the namespace.
    handle = await stage.closed(f"after-{uuid4().hex[:8]}")
    await asyncio.wait_for(handle.describe(), 10)


async def test_never_started_deleted_and_expired_are_told_apart(
    reconciler: Command, stage: Stage
) -> None:
    namespace = {"TEMPORAL_NAMESPACE": stage.client.namespace}

    dry = await reconciler("backfill", "--json", **namespace)
    result = await reconciler(
        *APPLY, "--missing", "fail", "--max-missing-ratio", "1", "--json", **namespace
    )

    left = {"open": 0, "too_young": 0, "never_started": 1, "deleted": 1, "expired": 2}
    assert dry.json["left"] == left
    missing = result.json["missing"]
    assert {reason: found["rows"] for reason, found in missing.items()} == {
        "never_started": 1,
        "deleted": 1,
        "expired": 2,
    }
    oldest, newest = (
        datetime.fromisoformat(missing["expired"][end]) for end in ("oldest", "newest")
    )
    assert newest - oldest == pytest.approx(timedelta(minutes=5), abs=timedelta(seconds=30))
    assert abs(datetime.now(UTC) - OLD - newest) < timedelta(minutes=2)
    rows = await stage.database.fetch(
        "SELECT workflow_id, status, error_message FROM workflow_executions ORDER BY id"
    )
    texts = [str(row["error_message"]) for row in rows]
    assert {row["status"] for row in rows} == {"failed"}
    assert texts[:4] == [
        "outcome unknown: past Temporal's retention",
        "outcome unknown: past Temporal's retention",
        "outcome unknown: no such workflow in Temporal",
        "outcome unknown: deleted from Temporal",
    ]
    assert texts[4].startswith("terminated by ")
