"""The main path after the close: how soon the row is written, and what the workflow notices."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

import asyncpg
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from benchmarks.figures import Figure, Result, at_most
from benchmarks.prepared import Prepared
from benchmarks.returning import Answering, Draining, Returning
from reconciler.worker import ReconcilerPlugin

SIGNALS, UPDATES = 300, 20

_METHOD = (
    "{runs} workflows that return immediately, one after the other, on a worker with "
    '`report="after_close"`: from Temporal\'s close time until the row is written. Then, on a '
    "worker without the plugin and with either way to report: {signals} signal-with-starts of one "
    "workflow id in a row, whose workflow returns at once, and {updates} update-with-starts of "
    "one, whose workflow ends with the update."
)
_WITHOUT, _AFTER, _BY_ACTIVITY = "without the plugin", "after the close", "by the activity"


async def measure(prepared: Prepared) -> Result:
    """Measure the milliseconds from close to row, the calls, and what signals and updates meet."""
    runs, client = prepared.sizes.held, prepared.stage.temporal
    url = await prepared.stage.database("after_close")
    os.environ["DATABASE_URL"] = url
    os.environ["RECONCILER_COLUMNS__UPDATED_AT"] = "written_at"
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE INDEX ON workflow_executions (workflow_id)")
    await connection.execute("ALTER TABLE workflow_executions ADD written_at timestamptz")
    try:
        figures = [
            *await _latency(client, connection, runs),
            *[
                figure
                for way in (_WITHOUT, _AFTER, _BY_ACTIVITY)
                for figure in await _met(client, way)
            ],
        ]
    finally:
        del os.environ["RECONCILER_COLUMNS__UPDATED_AT"]
        await connection.close()
    method = _METHOD.format(runs=runs, signals=SIGNALS, updates=UPDATES)
    return Result("A row after the close", method, figures)


async def _latency(client: Client, connection: asyncpg.Connection, runs: int) -> Sequence[Figure]:
    events = 0
    with _counted(client) as described:
        async with _worker(client, _AFTER) as queue:
            for _ in range(runs + 1):
                events = await _events(client, connection, queue)
    rows = await connection.fetch(
        "SELECT extract(epoch FROM written_at - completed_at) * 1000 AS took"
        " FROM workflow_executions WHERE status = 'completed' ORDER BY id OFFSET 1"
    )
    took = [float(row["took"]) for row in rows]
    assert len(took) == runs, "the plugin wrote its rows and no others"
    return [
        Figure("from the close to the row, median", median(took), "ms", goal=at_most(100, "ms")),
        Figure("99th percentile", quantiles(took, n=100)[-1], "ms", goal=at_most(1_000, "ms")),
        Figure("describes per end", len(described) / (runs + 1), "", goal=at_most(1.1)),
        Figure("events of such a workflow", events, "", goal=at_most(5)),
    ]


async def _events(client: Client, connection: asyncpg.Connection, queue: str) -> int:
    """Run a workflow with a row; returns how many events its history has."""
    workflow_id = f"after-{uuid4()}"
    handle = await client.start_workflow(Returning.run, id=workflow_id, task_queue=queue)
    await connection.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id) VALUES ($1, $2)",
        workflow_id,
        handle.first_execution_run_id,
    )
    await handle.result()
    return len((await handle.fetch_history()).events)


async def _met(client: Client, way: str) -> Sequence[Figure]:
    async with _worker(client, way) as queue:
        arrived = await _signals(client, queue)
        runs = [run for run in [await _update(client, queue) for _ in range(UPDATES)] if run]
    lost = Figure(f"{way}, signals lost", SIGNALS - arrived, "")
    return [lost, Figure(f"{way}, updates answered by a workflow of their own", len({*runs}), "")]


async def _signals(client: Client, queue: str) -> int:
    workflow_id, run_ids = f"draining-{uuid4()}", dict[str, None]()
    for _ in range(SIGNALS):
        handle = await client.start_workflow(
            Draining.run, id=workflow_id, task_queue=queue, start_signal="send"
        )
        run_ids[str(handle.result_run_id)] = None
    runs = [client.get_workflow_handle(workflow_id, run_id=run_id) for run_id in run_ids]
    return sum([await run.result() for run in runs])


async def _update(client: Client, queue: str) -> str | None:
    """The run that has answered; None if there was none."""
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        Answering.run,
        id=f"answering-{queue}",
        task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    with suppress(Exception):
        return await client.execute_update_with_start_workflow(
            Answering.answer, start_workflow_operation=start
        )
    return None


@asynccontextmanager
async def _worker(client: Client, way: str) -> AsyncIterator[str]:
    """A worker; yields its task queue. Everything it has noticed is written in the end."""
    options: dict[str, Any] = {"report": "after_close"} if way == _AFTER else {}
    plugins = [] if way == _WITHOUT else [ReconcilerPlugin(**options)]
    workflows = [Returning, Draining, Answering]
    async with Worker(client, task_queue=way, workflows=workflows, plugins=plugins):
        yield way


@contextmanager
def _counted(client: Client) -> Iterator[list[None]]:
    """The describes of this client."""
    service, made = client.workflow_service, list[None]()
    describe = service.describe_workflow_execution

    async def counting(*arguments: Any, **options: Any) -> Any:
        made.append(None)
        return await describe(*arguments, **options)

    service.describe_workflow_execution = counting  # type: ignore[method-assign]
    try:
        yield made
    finally:
        service.describe_workflow_execution = describe  # type: ignore[method-assign]
