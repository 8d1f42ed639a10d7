from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.scene import FEED_ALONE, Scene
from tests.support.network.visibility import visibility
from tests.support.temporal.namespaces import new_namespace
from tests.support.temporal.workflows import Scripted, charge

QUEUE = "feed"


@pytest.fixture(scope="session")
async def place(temporal: Client) -> AsyncIterator[Client]:
    """A namespace with a worker, in which only tests of the feed end workflows."""
    client = await new_namespace(temporal, "feed")
    # What has no closing has no mark to be saved.
    await (await client.start_workflow("Any", id="closed", task_queue="nobody")).terminate()
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Scripted],
        activities=[charge],
        graceful_shutdown_timeout=timedelta(seconds=1),
    ):
        yield client


@pytest.fixture
async def scene(
    database: Database, place: Client, temporal_address: str, workflow_id: str, tmp_path: Path
) -> AsyncIterator[Scene]:
    """`reconciler run` that relies on the feed, before a visibility that a test can break."""
    async with visibility(temporal_address) as seen:
        environment = {
            "DATABASE_URL": database.url,
            "TEMPORAL_ADDRESS": seen.address,
            "TEMPORAL_NAMESPACE": place.namespace,
            **FEED_ALONE,
        }
        scene = Scene(database, place, QUEUE, workflow_id, seen, Command(environment, tmp_path))
        yield scene
        await scene.end_all()
