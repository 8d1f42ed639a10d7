"""From the close of a workflow to its row, for each way in which a workflow can end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from uuid import uuid4

import asyncpg
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from benchmarks.feed.bare import bare_lists
from benchmarks.feed.daemon import NO_PASSES, running, until
from benchmarks.feed.endings import KINDS, Ending
from benchmarks.feed.tables import Written, found_by_the_feed, percentile, until_written
from benchmarks.figures import Figure, Result, at_most
from benchmarks.prepared import Prepared

INTERVALS = ("1s", "5s")
#: Seconds from one closing to the next.
EVERY = 0.18
_QUEUE = "endings"
_INSERT = (
    "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
    " VALUES ($1, $2, now() - interval '1 hour')"
)

_METHOD = (
    "{each} workflows for each kind of end, in turn, five or six a second, on the dev server. The "
    "application writes nothing, as if its main path were dead. `reconciler run` follows the feed "
    "with `RECONCILER_FEED_INTERVAL` at 1 s and, in another process with a table of its own, at "
    "5 s, at the same time. The limits have their defaults, and no pass is due. Times are from "
    "Temporal's close time to the beginning of the transaction that finishes the row; among so "
    "few, the 99th percentile of a kind is the longest. *Bare lists* are the same five lists every "
    "second, by raw calls, and show when a closing was first seen."
)


async def measure(prepared: Prepared) -> Result:
    """Measure the seconds from close to row, at two intervals."""
    stage, each = prepared.stage, prepared.sizes.endings
    urls = [await stage.database(f"feed_{interval}") for interval in INTERVALS]
    address = stage.temporal.service_client.config.target_host
    fast, slow = (
        running(url, address, FEED_INTERVAL=interval, **NO_PASSES)
        for url, interval in zip(urls, INTERVALS, strict=True)
    )
    async with fast as first, slow as second, _worker(stage.temporal):
        await first.has_passed()
        await second.has_passed()
        # A new feed begins with the closings of the last five minutes, here thousands.
        first_end = await _end_all(stage.temporal, urls, ["completed"])
        for url in urls:
            await until_written(url, len(first_end))
        async with bare_lists(stage.temporal) as bare:
            kinds = await _end_all(stage.temporal, urls, [*KINDS] * each)
            written = [await until_written(url, len(first_end | kinds)) for url in urls]
    found = [[row for row in rows if row.workflow_id in kinds] for rows in written]
    shown = [seconds for workflow_id, seconds in bare.items() if workflow_id in kinds]
    figures = [
        Figure("bare lists every second: median", percentile(shown, 50), "s"),
        Figure("bare lists every second: 99th percentile", percentile(shown, 99), "s"),
    ]
    for interval, rows in zip(INTERVALS, found, strict=True):
        figures += _figures(f"at {interval}", rows, kinds, shown)
    method = _METHOD.format(each=each)
    return Result("The feed: from close to row", method, figures)


def _worker(client: Client) -> Worker:
    return Worker(client, task_queue=_QUEUE, workflows=[Ending])


async def _end_all(client: Client, urls: Sequence[str], ways: Sequence[str]) -> dict[str, str]:
    """End a workflow in each of these ways; returns the way of each workflow id."""
    tables = [await asyncpg.create_pool(url, min_size=1, max_size=2) for url in urls]
    kinds = {f"ending-{uuid4()}": kind for kind in ways}
    ending = []
    for workflow_id, kind in kinds.items():
        ending.append(asyncio.create_task(_start_and_end(client, tables, workflow_id, kind)))
        await asyncio.sleep(EVERY)
    await asyncio.gather(*ending)
    for table in tables:
        await table.close()
    return kinds


async def _start_and_end(
    client: Client, tables: Sequence[asyncpg.Pool], workflow_id: str, kind: str
) -> None:
    handle = await client.start_workflow(
        Ending.run, kind, id=workflow_id, task_queue=_QUEUE, **KINDS[kind]
    )
    for table in tables:
        await table.execute(_INSERT, workflow_id, handle.first_execution_run_id)
    match kind:
        case "cancelled":
            await handle.cancel()
        case "terminated":
            await handle.terminate("no longer needed")
        case "timed out":
            pass
        case "reset, then terminated":
            await _reset(client, handle)
            await client.get_workflow_handle(workflow_id).terminate("no longer needed")
        case _:
            await handle.signal(Ending.end)


async def _reset(client: Client, handle: WorkflowHandle[Ending, None]) -> None:
    """Reset a run to its first workflow task, once that has completed: another run replaces it."""
    run = WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id or "")
    read = GetWorkflowExecutionHistoryRequest(namespace=client.namespace, execution=run)
    service = client.workflow_service

    async def has_waited() -> bool:
        history = await service.get_workflow_execution_history(read)
        return len(history.history.events) >= 4

    await until(has_waited)
    await service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=run,
            workflow_task_finish_event_id=4,
            request_id=str(uuid4()),
            reason="try again",
        )
    )


def _figures(
    at: str, rows: Sequence[Written], kinds: Mapping[str, str], shown: Sequence[float]
) -> Iterator[Figure]:
    goal = at_most(2, "s") if at == "at 1s" else None
    every = [row.seconds for row in rows]
    yield found_by_the_feed(at, rows)
    for percent, name in (50, "median"), (99, "99th percentile"):
        value = percentile(every, percent)
        yield Figure(
            f"{at}, all: {name}", value, "s", value / percentile(shown, percent), "of bare lists"
        )
    for kind in KINDS:
        seconds = [row.seconds for row in rows if kinds[row.workflow_id] == kind]
        yield Figure(f"{at}, {kind}: median", percentile(seconds, 50), "s")
        yield Figure(f"{at}, {kind}: 99th percentile", percentile(seconds, 99), "s", goal=goal)
