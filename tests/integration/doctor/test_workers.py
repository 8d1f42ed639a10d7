"""The workers that poll the queues of the rows, with and without the plugin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.worker import Worker

from reconciler.doctor.findings import Level
from reconciler.temporal.observe.workers import workflow_workers
from reconciler.worker.plugin import ReconcilerPlugin
from tests.integration.doctor.conftest import Patient
from tests.support.polling import eventually
from tests.support.temporal.workflows import Scripted, charge
from tests.support.temporal.world import World

SECOND = timedelta(seconds=1)


@pytest.mark.recent_sdk
async def test_workers_without_the_plugin_are_named(patient: Patient, world: World) -> None:
    quiet = LoggingConfig(filter=TelemetryFilter(core_level="OFF", other_level="OFF"))
    telemetry = TelemetryConfig(logging=quiet)
    runtime = Runtime(telemetry=telemetry, worker_heartbeat_interval=SECOND)
    address, queue = world.client.service_client.config.target_host, world.workflow_id

    async def worker(identity: str, **options: Any) -> Worker:
        # A client each: workers of one client must not share a queue.
        client = await Client.connect(address, runtime=runtime, identity=identity)
        return Worker(client, task_queue=queue, graceful_shutdown_timeout=SECOND, **options)

    async def listed(number: int) -> bool:
        return len(await workflow_workers(world.rpc, [queue, "o'd d"])) == number

    handle = await world.start("wait", task_queue=queue)
    await patient.database.insert(handle.id, handle.first_execution_run_id)
    nobody = await patient.findings(Level.OK)
    plugin = ReconcilerPlugin(patient.database.engine)
    # One that runs activities only needs no plugin.
    async with (
        await worker("activities", activities=[charge]),
        await worker("lacking", workflows=[Scripted]),
    ):
        await eventually(lambda: listed(1))
        alone = (await patient.findings(Level.OK))["workers"]
        async with await worker("having", workflows=[Scripted], plugins=[plugin]):
            await eventually(lambda: listed(2))
            half = (await patient.findings(Level.WARNING))["workers"]

    assert "workers" not in nobody
    assert alone.message.startswith("no ReconcilerPlugin on 1 worker of the last rows' task queues")
    assert "lacking on " in alone.message
    assert half.message.startswith("no ReconcilerPlugin on 1 of 2 workers of the last rows' task")
    assert half.message.count("(queue ") == 1
    assert "lacking on " in half.message
    assert "SDK 1." in half.message
