"""Sharing a server with low limits with workers: passes give way to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from reconciler.app.app import App
from reconciler.app.wiring import open_app
from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import LeaveReason
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.window import EVERY
from reconciler.demo.servers import temporal_server
from reconciler.settings.model import Settings
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.error_codes import NotFound
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.config.load import load_config
from tests.conftest import Database
from tests.support.network.gateway import gateway
from tests.support.polling import eventually
from tests.support.servers.dynamic_config import NEVER_BUSY
from tests.support.temporal.workflows import Scripted
from tests.support.temporal.world import World

#: Calls per second that the server takes in a namespace, and twice that at once.
QUOTA = 10
ROWS = 120
QUEUE = "polite"


def limited(**limits: int) -> list[str]:
    values = [NEVER_BUSY, *(f"frontend.{name}={rps}" for name, rps in limits.items())]
    return [part for value in values for part in ("--dynamic-config-value", value)]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server with a worker and a low quota."""
    async with (
        temporal_server(*limited(namespaceRPS=QUOTA)) as environment,
        Worker(environment.client, task_queue=QUEUE, workflows=[Scripted]),
    ):
        yield environment.client


@dataclass
class Application:
    """Starts a workflow a second, and polls as one more worker would, twice a second."""

    client: Client
    started: int = 0
    #: In the order of their answers: was the poll rejected?
    polls: list[bool] = field(default_factory=list)

    async def works(self) -> None:
        pace = RateLimiter(1)
        while True:
            await pace.acquire()
            await self.client.start_workflow(
                "Scripted", args=["complete", ""], id=f"wf-{uuid4().hex}", task_queue=QUEUE
            )
            self.started += 1

    async def polls_for_work(self) -> None:
        pace = RateLimiter(2)
        async with asyncio.TaskGroup() as polls:
            while True:
                await pace.acquire()
                polls.create_task(self._poll())

    async def _poll(self) -> None:
        request = PollActivityTaskQueueRequest(
            namespace="default", task_queue=TaskQueue(name="idle"), identity="a worker"
        )
        rejected = False
        try:
            await self.client.workflow_service.poll_activity_task_queue(
                request, timeout=timedelta(seconds=3)
            )
        except RPCError as error:
            rejected = error.status == RPCStatusCode.RESOURCE_EXHAUSTED
        self.polls.append(rejected)

    async def completed(self) -> int:
        query = "WorkflowType = 'Scripted' AND ExecutionStatus = 'Completed'"
        return (await self.client.count_workflows(query)).count


async def backfill(app: App) -> PassReport:
    report = PassReport.begin(PassRequest("backfill"), datetime.now(UTC))
    return await app.run_backfill(EVERY, app.settings.pass_options(), report)


@pytest.mark.long
async def test_workers_get_their_work_while_a_backfill_adapts(
    client: Client, database: Database
) -> None:
    """Workers lose polls until the rate settles; if it swung about the quota, they always would.

    Only the last polls count: the server's burst decides how long settling takes.
    """
    await database.insert_many(ROWS, "never-started", None)
    settings = Settings(database_url=SecretStr(database.url))
    target = {"target_host": client.service_client.config.target_host, "namespace": "default"}
    application = Application(client)

    async with open_app(settings, writing=True, temporal=target) as app:
        around = [
            asyncio.create_task(application.works()),
            asyncio.create_task(application.polls_for_work()),
        ]
        report = await backfill(app)
        completed = await application.completed()
        for task in around:
            task.cancel()
        await asyncio.gather(*around, return_exceptions=True)

    assert (report.outcome, report.tally.scanned) == (PassOutcome.OK, ROWS)
    assert report.tally.left[LeaveReason.UNKNOWN] == 0, "each row has got an answer"
    assert app.rpc.ended_calls["describe", "RESOURCE_EXHAUSTED"] > 0
    assert app.rpc.rate < QUOTA, "from 100"
    assert application.started > 5
    assert completed > application.started / 2
    assert sum(application.polls[-10:]) < 5, application.polls


async def test_readiness_does_not_wait_behind_a_busy_pass(
    database: Database, temporal_address: str
) -> None:
    await database.insert_many(40, "never-started", None)
    settings = Settings(database_url=SecretStr(database.url), max_rps=1)

    async with open_app(settings, writing=True, temporal={"target_host": temporal_address}) as app:

        async def busy() -> bool:
            return app.rpc.counts["describe"] > 0

        under_way = asyncio.create_task(backfill(app))
        await eventually(busy)
        before = app.rpc.counts
        await app.check_temporal()
        meanwhile = app.rpc.counts - before
        under_way.cancel()
        await asyncio.gather(under_way, return_exceptions=True)

    assert meanwhile["describe"] < 8, "sixteen rows were ahead of it"
    assert meanwhile["namespace"] == 0, "it is not counted for the pass"


async def test_an_overloaded_server_is_not_retried() -> None:
    async with temporal_server(*limited(rps=QUOTA)) as environment:
        target = environment.client.service_client.config.target_host
        rpc, _ = await connect({"target_host": target}, 0)

        async def ask_for_ever() -> None:
            while True:
                with suppress(NotFound):
                    await rpc.describe("never-started")

        with pytest.raises(TemporalUnusable, match=r"the whole Temporal server at .* overloaded"):
            await ask_for_ever()

    assert rpc.ended_calls["describe", "RESOURCE_EXHAUSTED"] == 1


async def test_every_call_has_the_lowest_priority(temporal_address: str, world: World) -> None:
    of = await world.ended(await world.start("fail"))
    assert of.run_id is not None
    async with gateway(temporal_address, key="right") as gate:
        variables = {"TEMPORAL_ADDRESS": gate.address, "TEMPORAL_TLS": "false"}
        rpc, _ = await connect(load_config(variables | {"TEMPORAL_API_KEY": "right"}), 0)
        await rpc.describe(of.workflow_id)
        await rpc.close_event(of.workflow_id, of.run_id)
        await rpc.cancel_cause(of.workflow_id, of.run_id)
        await rpc.prioritized().describe_namespace()
        with suppress(TemporalUnusable):
            await rpc.in_namespace("other").describe(of.workflow_id)

    assert [call.get("caller-type") for call in gate.sent] == ["preemptable"] * len(gate.sent)
    assert len(gate.sent) >= 6
