"""Every way in which a single run can end: status, Temporal's close time, and the cause."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from reconciler.core.model import Closed, CloseStatus, Open
from tests.support.polling import eventually
from tests.support.temporal.world import World


async def expect(
    world: World, handle: WorkflowHandle[Any, Any], status: CloseStatus, failure: str | None
) -> None:
    of = await world.ended(handle)

    assert await world.observe(of) == Closed(
        status=status,
        close_time=await world.close_time(),
        run_id=(await world.describe()).workflow_execution_info.execution.run_id,
        failure=failure,
        workflow_type="Scripted",
    )


async def test_completed(world: World) -> None:
    handle = await world.start("complete")

    await expect(world, handle, CloseStatus.COMPLETED, None)


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        pytest.param("fail", "OrderFailed: no money", id="application error"),
        pytest.param("fail without a type", "no money", id="application error without a type"),
        pytest.param(
            "fail in an activity",
            "activity charge failed (maximum attempts reached): PaymentDeclined: no money",
            id="activity",
        ),
        pytest.param(
            "fail in a child",
            "child workflow Scripted [{id}/child] failed: "
            "activity charge failed (maximum attempts reached): PaymentDeclined: no money",
            id="child",
        ),
        pytest.param(
            "fail, wrapping an activity's failure",
            "OrderFailed: order 17: "
            "activity charge failed (maximum attempts reached): PaymentDeclined: no money",
            id="wrapped",
        ),
        pytest.param(
            "time out in an activity",
            "activity charge failed (maximum attempts reached): start to close timeout",
            id="activity timeout",
        ),
    ],
)
async def test_failed_with_its_root_cause(world: World, script: str, failure: str) -> None:
    handle = await world.start(script, "no money")

    await expect(world, handle, CloseStatus.FAILED, failure.format(id=world.workflow_id))


async def test_run_timeout(world: World) -> None:
    handle = await world.start("wait", run_timeout=timedelta(seconds=1))

    await expect(world, handle, CloseStatus.TIMED_OUT, "workflow run timed out")


async def test_execution_timeout(world: World) -> None:
    handle = await world.start("wait", execution_timeout=timedelta(seconds=1))

    await expect(world, handle, CloseStatus.TIMED_OUT, "workflow execution timed out")


async def test_terminated(world: World) -> None:
    handle = await world.start("wait")
    await handle.terminate(reason="ticket 42")

    identity = world.client.service_client.config.identity
    await expect(world, handle, CloseStatus.TERMINATED, f"terminated by {identity}: ticket 42")


@pytest.mark.parametrize(
    ("reason", "failure"), [("ticket 42", "canceled: ticket 42"), ("", "canceled")]
)
async def test_cancelled(world: World, reason: str, failure: str) -> None:
    handle = await world.start("wait")
    await handle.cancel(reason=reason)

    await expect(world, handle, CloseStatus.CANCELED, failure)


async def test_running(world: World) -> None:
    handle = await world.start("wait")

    assert await world.observe(world.row(handle)) == Open("RUNNING")


async def test_not_picked_up_by_any_worker(world: World) -> None:
    handle = await world.start("complete", task_queue="nobody-listens")

    assert await world.observe(world.row(handle)) == Open("RUNNING")


async def pause(world: World) -> None:
    await world.client.workflow_service.pause_workflow_execution(
        PauseWorkflowExecutionRequest(
            namespace=world.client.namespace,
            workflow_id=world.workflow_id,
            reason="test",
            request_id="test",
        )
    )

    async def paused() -> bool:
        return (await world.describe()).workflow_execution_info.status == 8

    await eventually(paused)


async def test_paused_is_open(world: World) -> None:
    handle = await world.start("wait")
    await world.first_task_done()
    await pause(world)

    assert await world.observe(world.row(handle)) == Open("PAUSED")


async def test_terminated_while_paused(world: World) -> None:
    handle = await world.start("wait")
    await world.first_task_done()
    await pause(world)
    await handle.terminate(reason="ticket 42")

    identity = world.client.service_client.config.identity
    await expect(world, handle, CloseStatus.TERMINATED, f"terminated by {identity}: ticket 42")


async def test_a_failing_workflow_task_is_open(world: World) -> None:
    handle = await world.start("fail the task", "bug in workflow")

    async def task_failed() -> bool:
        return (await world.describe()).pending_workflow_task.attempt > 1

    await eventually(task_failed)

    assert await world.observe(world.row(handle)) == Open("RUNNING")


async def test_difficult_texts_stay_unchanged_until_stored(world: World) -> None:
    text = "line one\nline two\x00" + "x" * 1_000_000
    handle = await world.start("fail", text)

    observation = await world.observe(await world.ended(handle))

    assert isinstance(observation, Closed)
    assert observation.failure is not None
    assert observation.failure.startswith("OrderFailed: line one\nline two")
