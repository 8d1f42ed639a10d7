"""Several namespaces, each with its own feed, within one limit that is too low for the interval."""

from __future__ import annotations

import time

from temporalio.client import Client

from tests.support.commands.scene import Scene
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace

#: Lists per second; at an interval of a second, two namespaces would need ten.
LIMIT = 4
#: Lists that the limit may let through at once.
BURST = LIMIT


async def test_polls_of_several_namespaces_are_stretched(scene: Scene, temporal: Client) -> None:
    clients = [scene.client, await new_namespace(temporal, "other")]
    await scene.database.execute("ALTER TABLE workflow_executions ADD namespace text")
    handles = [
        await client.start_workflow("Any", id=f"{scene.prefix}/{number}", task_queue="nobody")
        for client in clients
        for number in range(3)
    ]
    for number, handle in enumerate(handles):
        await scene.database.insert(
            handle.id, handle.first_execution_run_id, namespace=clients[number // 3].namespace
        )
    async with scene.following(
        RECONCILER_VISIBILITY_RPS=str(LIMIT), RECONCILER_COLUMNS__NAMESPACE="namespace"
    ) as running:
        await scene.polls()
        began, lists = time.monotonic(), scene.seen.calls["ListWorkflowExecutions"]
        for handle in (handles[0], handles[3]):
            await handle.terminate()

        async def both_written() -> bool:
            return len(await scene.rows("status <> 'running'")) == 2

        await eventually(both_written)
        await scene.polls()
        lists = scene.seen.calls["ListWorkflowExecutions"] - lists
        assert lists <= LIMIT * (time.monotonic() - began) + BURST
        (line,) = [line for line in running.lines if "VISIBILITY_RPS" in str(line)]
        assert line["level"] == "warning"

    assert await scene.found_by() == {"feed": 2}
    assert {row["id"] for row in await scene.rows("status <> 'running'")} == {1, 4}
    for handle in handles:
        if handle not in (handles[0], handles[3]):
            await handle.terminate()
