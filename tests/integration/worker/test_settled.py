"""Nothing that happens during the write changes how a workflow ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from reconciler.core.model import CloseStatus
from reconciler.worker import ReconcilerPlugin, status_activity
from reconciler.worker.late_messages import ENDED
from tests.integration.worker.conftest import Site, locked_rows, waiting
from tests.support.crossed import crossed
from tests.support.histories.workflows import WORKFLOWS, pack
from tests.support.polling import eventually
from tests.support.temporal.cancelling import cancel

pytestmark = pytest.mark.usefixtures("unhurried")
Handle = WorkflowHandle[Any, Any]


@dataclass
class Way:
    """A workflow, and how its worker runs it."""

    workflow: str = "Order"
    options: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def worker(self, site: Site) -> AsyncIterator[None]:
        own = [] if self.workflow == "Order" else [status_activity(site.database.engine)]
        plugins = [] if own else [ReconcilerPlugin(site.database.engine)]
        async with site.bare_worker(
            workflows=WORKFLOWS, activities=[pack, *own], plugins=plugins, **self.options
        ):
            yield

    @asynccontextmanager
    async def held(self, site: Site, script: str = "return items") -> AsyncIterator[Handle]:
        """A workflow whose function has returned; it closes when the context ends."""
        handle = await site.start(script, "book", workflow=self.workflow)
        async with locked_rows(site.database) as rows, self.worker(site):
            await eventually(lambda: waiting(site))
            yield handle
            await rows.release()
            await site.closed(handle)


WAYS = [
    pytest.param(Way(), id="plugin"),
    pytest.param(Way(options={"max_cached_workflows": 0}), id="plugin, evicted"),
    pytest.param(
        Way(options={"workflow_runner": UnsandboxedWorkflowRunner()}), id="plugin, unsandboxed"
    ),
    pytest.param(Way("OrderByHand"), id="by hand"),
    pytest.param(Way("OrderByHand", {"max_cached_workflows": 0}), id="by hand, evicted"),
]
PLUGIN = WAYS[:2]


async def assert_rejected(handle: Handle, update: str, *arguments: Any) -> None:
    with pytest.raises(WorkflowUpdateFailedError) as raised:
        await handle.execute_update(update, args=arguments)
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == ENDED
    assert cause.message == "this workflow has ended and takes no more updates"


@pytest.mark.parametrize(("way", "script"), crossed(WAYS, ["return items", "fail"]))
async def test_updates_are_rejected_without_running_their_code(
    site: Site, way: Way, script: str
) -> None:
    async with way.held(site, script) as handle:
        await assert_rejected(handle, "put", "late")
        await assert_rejected(handle, "put", "nothing")
        await assert_rejected(handle, "put_packed", "late")
        await assert_rejected(handle, "finish_and_pack", "broken")
        await assert_rejected(handle, "whatever there is", 1, 2)
        assert await handle.query("held") == []

    assert await site.outcome() == (
        ("completed", None) if script == "return items" else ("failed", "OrderFailed: no money")
    )


@pytest.mark.parametrize("way", WAYS)
async def test_updates_set_at_run_time_are_rejected(site: Site, way: Way) -> None:
    async with way.held(site, "handle at run time") as handle:
        await assert_rejected(handle, "late_update", "late")

    assert await handle.result() == []


@pytest.mark.parametrize("way", PLUGIN)
async def test_a_rejected_update_with_a_validator_leaves_no_trace(site: Site, way: Way) -> None:
    async with way.held(site) as handle:
        await assert_rejected(handle, "put", "late")

    names = [event.WhichOneof("attributes") for event in await site.events()]
    assert names.count("marker_recorded_event_attributes") == 1
    assert "workflow_execution_update_accepted_event_attributes" not in names


@pytest.mark.parametrize("way", WAYS)
async def test_update_with_start_is_rejected(site: Site, way: Way) -> None:
    async with way.held(site):
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            way.workflow,
            args=["wait", ""],
            id=site.workflow_id,
            task_queue=site.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        with pytest.raises(WorkflowUpdateFailedError) as raised:
            await site.client.execute_update_with_start_workflow(
                "put_and_finish", "late", start_workflow_operation=start
            )

    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == ENDED


@pytest.mark.parametrize(
    ("way", "signal"), crossed(WAYS, ["add", "add_rubbish", "whatever there is"])
)
async def test_a_signal_does_not_change_the_result(site: Site, way: Way, signal: str) -> None:
    async with way.held(site) as handle:
        await handle.signal(signal, "late")
        await handle.query("__temporal_workflow_metadata")  # waits for the signal to be handled

    assert await handle.result() == []
    assert await site.outcome() == ("completed", None)


@pytest.mark.parametrize(("way", "signal"), crossed(WAYS, ["add", "add_rubbish"]))
async def test_a_signal_does_not_change_the_details_of_an_error(
    site: Site, way: Way, signal: str
) -> None:
    async with way.held(site, "fail") as handle:
        await handle.signal(signal, "late")
        await handle.query("__temporal_workflow_metadata")

    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert isinstance(raised.value.cause, ApplicationError)
    assert list(raised.value.cause.details) == [[]]
    assert await site.outcome() == ("failed", "OrderFailed: no money")


@pytest.mark.parametrize(("way", "how"), crossed(WAYS, ["fail", "start over", "cancel", "plainly"]))
async def test_a_failing_signal_handler_does_not_change_the_end(
    site: Site, way: Way, how: str
) -> None:
    async with way.held(site) as handle:
        await handle.signal("break_down", how)
        await handle.query("__temporal_workflow_metadata")

    assert await handle.result() == []
    assert await site.outcome() == ("completed", None)


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancellation_does_not_turn_a_failure_into_a_cancellation(
    site: Site, way: Way
) -> None:
    # The workflow failed because it had cancelled an activity.
    async with way.held(site, "cancel packing") as handle:
        await cancel(handle, "too late")
        await eventually(lambda: was_seen(site))

    closed = await site.closed(handle)
    assert closed.status is CloseStatus.FAILED
    assert await site.outcome() == ("failed", closed.failure)
    assert closed.failure == "activity pack failed (cancel requested): canceled"


async def was_seen(site: Site) -> bool:
    names = [event.WhichOneof("attributes") for event in await site.events()]
    requested = "workflow_execution_cancel_requested_event_attributes"
    completed = "workflow_task_completed_event_attributes"
    return requested in names and completed in names[names.index(requested) :]


@pytest.mark.parametrize(("way", "how"), crossed(PLUGIN, ["plainly", "start over"]))
@pytest.mark.filterwarnings("ignore::temporalio.workflow.UnfinishedUpdateHandlersWarning")
async def test_a_running_update_cannot_fail_the_task(site: Site, way: Way, how: str) -> None:
    async with way.worker(site):
        handle = await site.start("wait", workflow=way.workflow)
        update = await handle.start_update(
            "finish_and_break_down", how, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        async with locked_rows(site.database):
            await handle.signal("go_on")
            await eventually(lambda: waiting(site))
            with pytest.raises(WorkflowUpdateFailedError) as raised:
                await update.result()
        await site.closed(handle)

    assert isinstance(raised.value.cause, ApplicationError)
    assert "failed after this workflow had ended" in raised.value.cause.message
    assert await handle.result() == []


@pytest.mark.parametrize("way", WAYS)
async def test_queries_are_answered(site: Site, way: Way) -> None:
    async with way.held(site) as handle:
        assert await handle.query("held") == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_that_keeps_running_does_not_change_the_result(site: Site, way: Way) -> None:
    async with way.held(site, "leave work behind") as handle:
        await eventually(lambda: has_ticked(handle))

    assert await handle.result() == []


async def has_ticked(handle: Handle) -> bool:
    return "tick" in await handle.query("held")
