"""Why workflows of a real server are open: the reason, the text, and since when."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    PinnedVersioningOverride,
    VersioningBehavior,
    WorkerDeploymentVersion,
)
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerDeploymentConfig

from reconciler.core.model import Open
from reconciler.core.redaction import Redaction
from reconciler.core.stuck import runs
from reconciler.core.stuck.condition import Condition, Diagnosis, Reason
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.stuck.diagnosis import TemporalDiagnosis
from tests.support.polling import eventually
from tests.support.temporal.stuck_workflows import Provision, create_zone
from tests.support.temporal.world import World

MINUTE = timedelta(minutes=1)
NOW = timedelta()
#: When a task that waits has waited for too long, and workers that have stopped are forgotten.
LATER = 3 * MINUTE
_TIME = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
async def task_queue(temporal: Client) -> AsyncIterator[str]:
    name = f"provision-{uuid4().hex[:8]}"
    async with provisioning(temporal, name):
        yield name


def provisioning(
    client: Client, task_queue: str, version: WorkerDeploymentVersion | None = None
) -> Worker:
    versioned = None
    if version:
        pinned = VersioningBehavior.PINNED
        versioned = WorkerDeploymentConfig(version, True, default_versioning_behavior=pinned)
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Provision],
        activities=[create_zone],
        graceful_shutdown_timeout=timedelta(),
        deployment_config=versioned,
    )


class Provisioning(World):
    """A workflow, and why it is open."""

    async def begin(self, script: str, about: str = "", **options: Any) -> WorkflowHandle[Any, Any]:
        given = {"id": self.workflow_id, "task_queue": self.task_queue, **options}
        return await self.client.start_workflow("Provision", args=[script, about], **given)

    async def is_started(self, script: str, **options: Any) -> bool:
        """Start it, unless Temporal refuses that for now."""
        try:
            await self.begin(script, **options)
        except RPCError:
            return False
        return True

    async def why(self, later: timedelta = NOW) -> Condition | None:
        """As it would be judged at a later time."""
        row = World.row(self.client.get_workflow_handle(self.workflow_id))
        observed = await self.observe(row)
        assert isinstance(observed, Open)
        diagnosis = TemporalDiagnosis(self.rpc, Redactor(Redaction(), 2_000))
        (found,) = await diagnosis.diagnose(
            [(row, observed.evidence)], datetime.now(UTC) + later, {}
        )
        return found.condition if isinstance(found, Diagnosis) else None

    async def found(self, reason: Reason, later: timedelta = NOW, says: str = "") -> Condition:
        """Wait until this is the reason, and its text contains what matches `says`."""
        seen: list[Condition | None] = []

        async def is_found() -> bool:
            seen.append(why := await self.why(later))
            return why is not None and why.reason is reason and bool(re.search(says, why.text))

        try:
            await eventually(is_found)
        except TimeoutError:
            pytest.fail(f"{reason} was never the reason, but: {seen[-1]}")
        assert seen[-1] is not None
        return seen[-1]

    async def time_of(self, event: str, workflow_id: str | None = None) -> datetime:
        """Of the first event of this type."""
        handle = self.client.get_workflow_handle(workflow_id or self.workflow_id)
        async for each in handle.fetch_history_events():
            if each.HasField(f"{event}_event_attributes"):  # type: ignore[arg-type]
                return each.event_time.ToDatetime(UTC)
        pytest.fail(f"there is no event {event}")


@pytest.fixture
async def world(temporal: Client, task_queue: str, workflow_id: str) -> AsyncIterator[Provisioning]:
    world = Provisioning(temporal, task_queue, workflow_id)
    yield world
    with contextlib.suppress(RPCError):
        await temporal.get_workflow_handle(workflow_id).terminate("end of test")


def assert_at(since: datetime | None, time: datetime) -> None:
    """Within a second: Temporal reads its clock more than once."""
    assert since
    assert abs(since - time) < timedelta(seconds=1)


def text(condition: Condition) -> str:
    """With `T` for each time."""
    return _TIME.sub("T", condition.text)


async def test_a_paused_workflow(world: Provisioning) -> None:
    await world.begin("wait")
    await world.first_task_done()
    await world.client.workflow_service.pause_workflow_execution(
        PauseWorkflowExecutionRequest(
            namespace=world.client.namespace,
            workflow_id=world.workflow_id,
            identity="ops@example.com",
            reason="ticket 4711",
            request_id=uuid4().hex,
        )
    )
    found = await world.found(Reason.PAUSED)
    assert text(found) == "Provision: paused: ticket 4711 (by ops@example.com, at T)"
    assert found.cause == "Provision: paused: ticket N"
    assert_at(found.since, await world.time_of("workflow_execution_paused"))


async def test_a_workflow_task_that_fails(
    world: Provisioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FAILING_FROM", 2)  # the next attempts take ten seconds each
    await world.begin("fail the task", "zone 7 of order-77")
    found = await world.found(Reason.WORKFLOW_TASK_FAILING)
    said = (
        r"Provision: ValueError: zone 7 of order-77 \(attempt \d+ of the workflow task, since T\)"
    )
    assert re.fullmatch(said, text(found))
    assert found.cause == "Provision: ValueError: zone N of order-N"
    assert_at(found.since, await world.time_of("workflow_task_scheduled"))


async def test_a_workflow_that_no_worker_takes(world: Provisioning) -> None:
    await world.begin("wait", task_queue=f"{world.task_queue}-nobody")
    await world.found(Reason.WAITING, says="^Provision: waits for its workflow task$")
    found = await world.found(Reason.NO_WORKER, LATER, "1 task in the queue")
    assert re.fullmatch(
        rf"task queue {world.task_queue}-nobody: no worker polls for workflow tasks"
        r" \(the workflow task due since T, 1 task in the queue.*\)",
        text(found),
    )
    assert_at(found.since, await world.time_of("workflow_task_scheduled"))


async def test_a_workflow_whose_worker_has_stopped(world: Provisioning) -> None:
    queue = f"{world.task_queue}-stops"
    async with provisioning(world.client, queue):
        handle = await world.begin("wait", task_queue=queue)
        await world.first_task_done()
    await handle.signal("touch")
    found = await world.found(Reason.NO_WORKER, LATER)
    assert text(found).startswith(
        f"task queue {queue}: no worker polls for workflow tasks (the workflow task due since T"
    )
    assert re.search(r"last poll at T by \d+@", text(found))


async def test_an_activity_that_no_worker_of_its_own_queue_takes(world: Provisioning) -> None:
    await world.begin("attempt elsewhere", f"{world.task_queue}-zones")
    await world.first_task_done()
    found = await world.found(Reason.NO_WORKER, LATER)
    assert text(found).startswith(
        f"task queue {world.task_queue}-zones: no worker polls for activities"
        " (create_zone due since T"
    )
    assert_at(found.since, await world.time_of("activity_task_scheduled"))
    await world.found(Reason.WAITING, says="^Provision: waits for activity create_zone$")


async def test_a_workflow_pinned_to_a_version_without_workers(world: Provisioning) -> None:
    version = WorkerDeploymentVersion("provision", "2.0")
    pinned = PinnedVersioningOverride(version)
    # Temporal accepts only versions that have polled the queue.
    async with provisioning(world.client, world.task_queue, version):
        await eventually(lambda: world.is_started("wait", versioning_override=pinned))
        await world.first_task_done()
    await world.client.get_workflow_handle(world.workflow_id).signal("touch")
    found = await world.found(Reason.NO_WORKER, LATER)
    assert text(found).startswith(
        f"task queue {world.task_queue}: no worker of version provision:2.0 polls for workflow"
        " tasks (the workflow task due since T"
    )


async def test_a_paused_activity(world: Provisioning) -> None:
    await world.begin("attempt", "zone limit is 50")
    await world.found(Reason.ACTIVITY_RETRYING)
    await world.client.workflow_service.pause_activity(
        PauseActivityRequest(
            namespace=world.client.namespace,
            execution=WorkflowExecution(workflow_id=world.workflow_id),
            type="create_zone",
            identity="ops@example.com",
            reason="ticket 4711",
        )
    )
    found = await world.found(Reason.ACTIVITY_PAUSED)
    assert text(found) == (
        "create_zone: paused: ticket 4711 (by ops@example.com, at T, attempt 2 of 10,"
        " last failure: QuotaExceeded: zone limit is 50)"
    )
    paused_at = (await world.describe()).pending_activities[0].pause_info.pause_time
    assert found.since == paused_at.ToDatetime(UTC)


async def test_an_activity_that_is_attempted_again(world: Provisioning) -> None:
    await world.begin("attempt", "zone limit is 50")
    found = await world.found(Reason.ACTIVITY_RETRYING)
    assert text(found) == (
        "create_zone: QuotaExceeded: zone limit is 50 (attempt 2 of 10, next at T, expires T)"
    )
    assert found.cause == "create_zone: QuotaExceeded: zone limit is N"
    assert_at(found.since, await world.time_of("activity_task_scheduled"))


async def test_an_activity_without_heartbeats(world: Provisioning) -> None:
    await world.begin("attempt without end", "hang")
    await world.found(Reason.WAITING, says="^Provision: waits for activity create_zone$")
    found = await world.found(Reason.ACTIVITY_SILENT, timedelta(seconds=58))
    assert re.fullmatch(
        r"create_zone: no heartbeat \(attempt 1 of 10, last sign of life at T, timeout 60 s,"
        r" worker \d+@.+\)",
        text(found),
    )
    started = (await world.describe()).pending_activities[0].last_started_time
    assert found.since == started.ToDatetime(UTC)


async def test_a_nexus_operation_whose_endpoint_is_down(world: Provisioning) -> None:
    endpoint = f"payments-{uuid4().hex[:8]}"
    closed_port = EndpointTarget.External(url="http://127.0.0.1:9/")
    await world.client.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(
            spec=EndpointSpec(name=endpoint, target=EndpointTarget(external=closed_port))
        )
    )
    # The circuit breaker opens after several failures.
    others = [await world.begin("call", endpoint, id=f"{world.workflow_id}-{n}") for n in range(4)]
    await world.begin("call", endpoint)
    found = await world.found(Reason.NEXUS_BLOCKED)
    assert re.fullmatch(
        rf"nexus operation payments/charge: endpoint {endpoint} is blocked: CallError: Post .*:"
        r" connection refused \(The circuit breaker is open, attempt \d+, due since T\)",
        text(found),
    )
    assert_at(found.since, await world.time_of("nexus_operation_scheduled"))
    for other in others:
        await other.terminate("end of test")


async def test_a_parent_of_a_child_that_is_stuck(world: Provisioning) -> None:
    await world.begin("have a child", "attempt")
    child = f"{world.workflow_id}/child"
    found = await world.found(Reason.WAITING_FOR_CHILD)
    assert text(found) == (
        f"child workflow Provision [{child}]: ActivityRetrying create_zone: QuotaExceeded:"
        " zones: 50 (attempt 2 of 10, next at T, expires T)"
    )
    assert found.cause == (
        "child workflow Provision: ActivityRetrying create_zone: QuotaExceeded: zones: N"
    )
    assert_at(found.since, await world.time_of("activity_task_scheduled", child))


async def test_a_parent_of_a_healthy_child_is_healthy(world: Provisioning) -> None:
    await world.begin("have a child", "wait")
    await world.found(Reason.WAITING, says="^Provision: waits for child workflow Provision$")


async def test_a_workflow_with_a_start_delay(world: Provisioning) -> None:
    await world.begin("wait", start_delay=timedelta(hours=1))
    found = await world.found(Reason.DELAYED)
    assert text(found) == "Provision: delayed (until T, started at T)"
    assert_at(found.since, await world.time_of("workflow_execution_started"))


async def test_a_workflow_past_its_timeout(world: Provisioning) -> None:
    await world.begin("wait", run_timeout=timedelta(hours=1))
    await world.first_task_done()
    found = await world.found(Reason.OVERDUE, timedelta(hours=1, minutes=10))
    assert re.fullmatch(
        r"Provision: open past its run timeout \(expired at T, [\d.]+ min ago\)", text(found)
    )
    started = await world.time_of("workflow_execution_started")
    assert_at(found.since, started + timedelta(hours=1))


async def test_a_workflow_that_waits_for_a_signal(world: Provisioning) -> None:
    await world.begin("wait")
    await world.first_task_done()
    found = await world.found(Reason.WAITING, LATER)
    assert found.text == "Provision: waits for a timer, a signal or an update"
    assert found.since is None
