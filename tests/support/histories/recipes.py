"""Ways for a workflow to end, and events while its end is written.

Each runs a workflow on a worker with the plugin or the decorator, and returns its histories.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowHistory,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy

from reconciler.core.model import CloseStatus
from reconciler.postgres.connection.engine import open_engine
from reconciler.worker import ReconcilerPlugin, status_activity
from tests.integration.worker.conftest import Site, locked_rows, waiting
from tests.support.histories.happenings import Happening
from tests.support.histories.workflows import WORKFLOWS, pack
from tests.support.polling import eventually

Shape: TypeAlias = Callable[[Site], Awaitable[Sequence[WorkflowHistory]]]

TWICE = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))


@asynccontextmanager
async def working(site: Site, plugin: ReconcilerPlugin | None = None) -> AsyncIterator[None]:
    async with site.worker(plugin, workflows=WORKFLOWS, activities=[pack]):
        yield


async def histories(site: Site, *run_ids: str | None) -> Sequence[WorkflowHistory]:
    handles = (site.client.get_workflow_handle(site.workflow_id, run_id=run) for run in run_ids)
    return [await handle.fetch_history() for handle in handles]


def ends(script: str, workflow: str = "Order", *, children: bool = False, **options: Any) -> Shape:
    """It ends without any event during the write."""

    async def shape(site: Site) -> Sequence[WorkflowHistory]:
        plugin = ReconcilerPlugin(site.database.engine, children=children)
        async with working(site, plugin):
            handle = await site.start(script, "book", workflow=workflow, **options)
            closed = await site.closed(handle)
        child = site.client.get_workflow_handle(f"{site.workflow_id}/part")
        found = [*await histories(site, handle.first_execution_run_id)]
        if closed.run_id != handle.first_execution_run_id:
            found += await histories(site, closed.run_id)
        if script == "order a part":
            found.append(await child.fetch_history())
        return found

    return shape


def held(
    what: Happening,
    script: str = "return items",
    *,
    workflow: str = "Order",
    midway: bool = False,
) -> Shape:
    """Something happens while its end is written."""

    async def shape(site: Site) -> Sequence[WorkflowHistory]:
        handle = await site.start(script, "book", workflow=workflow)
        async with writing(site, workflow):
            async with locked_rows(site.database):
                await eventually(lambda: waiting(site))
                await what(site, handle)
                if midway:
                    return await histories(site, None)
            await site.closed(handle)
        return await histories(site, handle.first_execution_run_id)

    return shape


@asynccontextmanager
async def writing(site: Site, workflow: str) -> AsyncIterator[None]:
    if workflow == "OrderByHand":
        own = status_activity(site.database.engine)
        async with site.bare_worker(workflows=WORKFLOWS, activities=[pack, own]):
            yield
    else:
        async with working(site):
            yield


async def cancelled(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site):
        handle = await site.start("wait", workflow="Order")
        await site.world.first_task_done()
        await handle.cancel(reason="ticket 42")
        assert (await site.closed(handle)).status is CloseStatus.CANCELED
    return await histories(site, None)


async def finished_by_an_update(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site):
        handle = await site.start("wait", workflow="Order")
        await handle.execute_update("put", "book")
        await handle.execute_update("put_and_finish", "pen")
        await site.closed(handle)
    return await histories(site, None)


async def an_update_that_is_under_way_at_the_end(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site):
        handle = await site.start("wait", workflow="Order")
        with contextlib.suppress(WorkflowUpdateFailedError):
            await handle.start_update(
                "finish_and_pack", "book", wait_for_stage=WorkflowUpdateStage.ACCEPTED
            )
        await site.closed(handle)
    return await histories(site, None)


async def a_signal_that_is_under_way_at_the_end(site: Site) -> Sequence[WorkflowHistory]:
    handle = await site.start("wait", workflow="Order")
    await handle.signal("add_packed", "book")
    await handle.signal("finish")
    async with working(site):
        await site.closed(handle)
    return await histories(site, None)


async def update_with_start(site: Site) -> Sequence[WorkflowHistory]:
    await site.database.insert(site.workflow_id)
    async with working(site):
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            "Order",
            args=["wait", ""],
            id=site.workflow_id,
            task_queue=site.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        await site.client.execute_update_with_start_workflow(
            "put_and_finish", "book", start_workflow_operation=start
        )
        await site.closed(await start.workflow_handle())
    return await histories(site, None)


async def signal_with_start(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site):
        handle = await site.start(
            "wait", workflow="Order", start_signal="finish", start_signal_args=[]
        )
        await site.closed(handle)
    return await histories(site, None)


async def cron(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site):
        handle = await site.start("fail", workflow="Order", cron_schedule="@every 1s")
        first = str(handle.first_execution_run_id)
        await eventually(lambda: _ticked(site, first))
        await site.client.get_workflow_handle(handle.id).terminate()
    return await histories(site, first)


async def _ticked(site: Site, first: str) -> bool:
    return (await site.world.describe()).workflow_execution_info.execution.run_id != first


async def reset(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site):
        handle = await site.start("wait", workflow="Order")
        await site.world.first_task_done()
        await site.world.reset(str(handle.first_execution_run_id))
        await site.client.get_workflow_handle(handle.id).signal("finish")
        await site.closed(handle)
    return await histories(site, None)


async def a_report_that_fails(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site, ReconcilerPlugin(open_engine("postgresql://app@127.0.0.1:1/app"))):
        await site.closed(await site.start("return items", workflow="Order"))
    return await histories(site, None)


async def a_report_that_nobody_takes(site: Site) -> Sequence[WorkflowHistory]:
    async with working(site, ReconcilerPlugin(task_queue="nobody-listens")):
        options = {"run_timeout": timedelta(seconds=14)}
        await site.closed(await site.start("return items", workflow="Order", **options))
    return await histories(site, None)


async def no_report(site: Site) -> Sequence[WorkflowHistory]:
    async with site.bare_worker(workflows=WORKFLOWS, activities=[pack]):
        handle = await site.start("wait", workflow="Order")
        await handle.signal("finish")
        await site.closed(handle)
    return await histories(site, None)
