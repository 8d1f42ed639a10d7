"""How fast Temporal answers here: bare raw calls and nothing else, by the SDK's client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

from benchmarks.workflows import Run

CONCURRENCIES = (8, 16, 32, 64)
_COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
_CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most describes per second, and at how many at the same time."""

    concurrency: int
    per_second: float


async def find_ceiling(client: Client, runs: Collection[Run], rounds: int) -> Ceiling:
    """How many describes at the same time are answered fastest; the medians are compared."""
    seconds: dict[int, list[float]] = {concurrency: [] for concurrency in CONCURRENCIES}
    for _ in range(rounds):
        for concurrency in CONCURRENCIES:
            seconds[concurrency].append(await describe_all(client, runs, concurrency))
    fastest, best = min((median(times), concurrency) for concurrency, times in seconds.items())
    return Ceiling(best, len(runs) / fastest)


async def describe_all(client: Client, runs: Iterable[Run], concurrency: int) -> float:
    """Describe each workflow, and read the close event of those that failed; the seconds."""
    waiting = iter(runs)

    async def ask() -> None:
        for run in waiting:
            await _describe(client, run)

    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(concurrency)))
    return time.perf_counter() - started


async def list_all(client: Client, runs: Sequence[Run], at_once: int = 500) -> float:
    """Ask visibility which of the workflows are open, N per call; the seconds."""
    started = time.perf_counter()
    for first in range(0, len(runs), at_once):
        ids = ", ".join(f"'{run.workflow_id}'" for run in runs[first : first + at_once])
        request = ListWorkflowExecutionsRequest(
            namespace=client.namespace,
            page_size=1000,
            query=f"WorkflowId IN ({ids}) AND ExecutionStatus = 'Running'",
        )
        await client.workflow_service.list_workflow_executions(request)
    return time.perf_counter() - started


async def _describe(client: Client, run: Run) -> None:
    service, namespace = client.workflow_service, client.namespace
    execution = WorkflowExecution(workflow_id=run.workflow_id)
    request = DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
    info = (await service.describe_workflow_execution(request)).workflow_execution_info
    if not info.HasField("close_time") or info.status == _COMPLETED:
        return
    await service.get_workflow_execution_history(
        GetWorkflowExecutionHistoryRequest(
            namespace=namespace,
            execution=info.execution,
            history_event_filter_type=_CLOSE_EVENT,
            skip_archival=True,
        )
    )
