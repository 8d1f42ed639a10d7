"""Signals and updates behave as without the plugin: the workflow is not held open."""

from __future__ import annotations

from itertools import chain
from typing import Any

from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from reconciler.worker import ReconcilerPlugin
from tests.integration.worker.conftest import Site
from tests.support.worker.draining import WORKFLOWS

SIGNALS, UPDATES = 40, 5


async def test_no_signal_is_lost(site: Site) -> None:
    plugin = ReconcilerPlugin(site.database.engine, report="after_close")
    async with site.bare_worker(workflows=WORKFLOWS, activities=[], plugins=[plugin]):
        runs = {(await send(site, number)).result_run_id for number in range(SIGNALS)}
        handles = [
            site.client.get_workflow_handle(site.workflow_id, run_id=run_id) for run_id in runs
        ]
        received = [await handle.result() for handle in handles]

    assert sorted(chain.from_iterable(received)) == list(range(SIGNALS))


async def send(site: Site, number: int) -> Any:
    return await site.client.start_workflow(
        "Draining",
        id=site.workflow_id,
        task_queue=site.task_queue,
        start_signal="send",
        start_signal_args=[number],
    )


async def test_each_update_with_start_starts_a_workflow(site: Site) -> None:
    plugin = ReconcilerPlugin(site.database.engine, report="after_close")
    async with site.bare_worker(workflows=WORKFLOWS, activities=[], plugins=[plugin]):
        answers = [await update(site, number) for number in range(UPDATES)]

    assert answers == list(range(UPDATES))


async def update(site: Site, number: int) -> int:
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "Answering",
        id=site.workflow_id,
        task_queue=site.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    answer: int = await site.client.execute_update_with_start_workflow(
        "answer", number, start_workflow_operation=start
    )
    return answer
