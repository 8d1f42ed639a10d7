"""How much longer a workflow stays open with the plugin, which writes its row first."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from statistics import median, quantiles
from uuid import uuid4

import asyncpg
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.figures import Figure, Result
from benchmarks.prepared import Prepared
from benchmarks.returning import Returning
from benchmarks.stage import leave_out_the_benchmark
from reconciler.worker import ReconcilerPlugin

_METHOD = (
    "{runs} workflows that return immediately, one after the other, from the start until the "
    "client has the result: in turn on a worker without the plugin and on one with it, whose "
    "activity has a connection of its own. Each workflow has a row. The first workflow of a worker "
    "with the plugin is measured separately, because the worker may still be reading the table's "
    "definition then."
)
_WITH, _WITHOUT = "with the plugin", "without"


async def measure(prepared: Prepared) -> Result:
    """Measure the milliseconds from start to result, with the plugin and without."""
    runs, client = prepared.sizes.held, prepared.stage.temporal
    url = await prepared.stage.database("hold")
    os.environ["DATABASE_URL"] = url
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE INDEX ON workflow_executions (workflow_id)")
    took: dict[str, list[float]] = {_WITH: [], _WITHOUT: []}
    async with AsyncExitStack() as stack:
        for name in took:
            plugins = [ReconcilerPlugin()] if name == _WITH else []
            worker = Worker(client, task_queue=name, workflows=[Returning], plugins=plugins)
            await stack.enter_async_context(worker)
        first = {name: await _milliseconds(client, connection, name) for name in took}
        leave_out_the_benchmark()
        for _ in range(runs):
            for name, times in took.items():
                times.append(await _milliseconds(client, connection, name))
    open_rows = await connection.fetchval(
        "SELECT count(*) FROM workflow_executions WHERE status = 'running'"
    )
    assert open_rows == runs + 1, "the plugin wrote its rows and no others"
    await connection.close()
    figures = [
        Figure("without the plugin, median", median(took[_WITHOUT]), "ms"),
        Figure("with the plugin, median", median(took[_WITH]), "ms"),
        Figure("held, median", median(took[_WITH]) - median(took[_WITHOUT]), "ms"),
        Figure("held, 99th percentile", _percentile_99(took[_WITH]) - median(took[_WITHOUT]), "ms"),
        Figure("held, a worker's first", first[_WITH] - first[_WITHOUT], "ms"),
    ]
    return Result("How long a workflow is held", _METHOD.format(runs=runs), figures)


async def _milliseconds(client: Client, connection: asyncpg.Connection, queue: str) -> float:
    """The time that one workflow takes; its row is inserted first."""
    workflow_id = f"held-{uuid4()}"
    await connection.execute(
        "INSERT INTO workflow_executions (workflow_id) VALUES ($1)", workflow_id
    )
    started = time.perf_counter()
    await client.execute_workflow(Returning.run, id=workflow_id, task_queue=queue)
    return (time.perf_counter() - started) * 1_000


def _percentile_99(times: list[float]) -> float:
    return quantiles(times, n=100)[-1]
