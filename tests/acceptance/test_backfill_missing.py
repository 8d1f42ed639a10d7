"""Missing rows: never started, deleted and expired, in a namespace where workflows expire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client, WorkflowHandle

from reconciler.core.model import Missing
from tests.acceptance.test_backfill import APPLY
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.stage import Stage
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace
from tests.support.temporal.world import World

RETENTION = timedelta(hours=1)
#: Of rows that have expired, and of rows too young for that.
OLD, YOUNG = timedelta(hours=2), timedelta(minutes=30)


def _duration(of: timedelta) -> Duration:
    return Duration(seconds=int(of.total_seconds()))


async def short_lived(temporal: Client) -> Stage:
    """In a namespace of its own, where closed workflows are gone a second later, or two."""
    client = await new_namespace(temporal, "short", timedelta(seconds=1))
    return Stage(database=None, client=client, prefix="case")  # type: ignore[arg-type]


@pytest.fixture
async def stage(database: Database, temporal: Client) -> AsyncIterator[Stage]:
    """A workflow that has expired; and after the retention was raised, one of each other kind."""
    stage, control = await asyncio.gather(short_lived(temporal), short_lived(temporal))
    stage = replace(stage, database=database)
    expired = await _expired(stage)
    await stage.insert(expired, age=OLD)
    await stage.insert(expired, age=OLD + timedelta(minutes=5))
    await _raise_retention(stage.client)
    closed = await _closed_for_longer(stage, control)
    await stage.insert_missing(age=YOUNG, started=False)
    await stage.insert(await stage.deleted(), age=YOUNG)
    await stage.insert(closed, age=YOUNG)
    yield stage
    await stage.end()


async def _expired(stage: Stage) -> WorkflowHandle[object, object]:
    handle = await stage.closed(f"expired-{uuid4().hex[:8]}")

    async def gone() -> bool:
        return await _is_gone(handle, stage.client)

    await eventually(gone)
    return handle


async def _is_gone(handle: WorkflowHandle[object, object], client: Client) -> bool:
    world = World(client, "nobody", handle.id)
    return await world.observe(world.row(handle)) == Missing()


async def _raise_retention(client: Client) -> None:
    """Of workflows that close from now on: what has closed expires as it was going to."""
    config = NamespaceConfig(workflow_execution_retention_ttl=_duration(RETENTION))
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(namespace=client.namespace, config=config)
    )
    world = World(client, "nobody", "")

    async def in_force() -> bool:
        return (await world.probe.retention()) == RETENTION

    await eventually(in_force)


async def _closed_for_longer(stage: Stage, control: Stage) -> WorkflowHandle[object, object]:
    """One that was closed when whatever closes workflows knew of the raised retention.

    When it will go is settled when it closes, by a service that learns of a change later than the
    one that describes the namespace. It has known if the workflow outlives two that were closed
    after it, one after the other, where nothing was raised: a retention of one second is varied by
    no more than another.
    """
    while True:
        handle = await stage.closed(f"closed-{uuid4().hex[:8]}")
        for _ in range(2):
            await _expired(control)
            if await _is_gone(handle, stage.client):
                break
        else:
            return handle


@pytest.mark.long
async def test_never_started_deleted_and_expired_are_distinguished(
    reconciler: Command, stage: Stage
) -> None:
    namespace = {"TEMPORAL_NAMESPACE": stage.client.namespace}

    dry = await reconciler("backfill", "--json", **namespace)
    result = await reconciler(
        *APPLY, "--missing", "fail", "--max-missing-ratio", "1", "--json", **namespace
    )

    left = {"open": 0, "too_young": 0, "never_started": 1, "deleted": 1, "expired": 2}
    left |= {"completed": 0, "no_workflow_id": 0}
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
    assert abs(datetime.now(UTC) - OLD - newest) < timedelta(minutes=10)
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
