"""Why rows are stuck: the calls that it takes to find out, and what the evidence for it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice
from statistics import median
from unittest.mock import patch

from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from benchmarks import open_workflows, passes
from benchmarks.closed import paired
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.prepared import Prepared
from benchmarks.stage import Stage, fill
from benchmarks.workflows import Run
from reconciler.app.app import App
from reconciler.core.model import Open, RunRow
from reconciler.core.report.pass_report import RPC_KINDS
from reconciler.core.stuck import no_worker
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from reconciler.temporal.client.execution_info import status_name
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe import probe as probe_module
from reconciler.temporal.observe.namespaces import NamespacesProbe

_EVERY = {"full_sweep_interval": timedelta(0)}
#: Of the rows, as many have each of the problems that take more calls, and one that takes none.
SHARE = 0.05
_METHOD = (
    "{rows:,} rows of open workflows, each described by a pass of `once`. *Healthy*: all wait for "
    "a signal. *Stuck*: in a fifth of them no worker takes the workflow task (5 %, on {queues} "
    "queues), the workflow task fails (5 %), an activity is retried (5 %), or a child waits for a "
    "worker (5 %). *More calls* are those for queues, histories and children. Describing "
    "{few:,} of the rows at concurrency {concurrency} is compared with and without keeping the "
    "evidence for why they are open, by the CPU time of this process, which the load of the "
    "machine changes less than the time that passes: the best of {best_of} each, measured in turn. "
    "*Passes* over {passed:,} of the rows of which some are stuck, without rate limits, with all "
    "that it takes to find out and to record what is stuck, and without: medians of {rounds} pairs."
)


async def measure(prepared: Prepared) -> Result:
    """Count the calls of passes over healthy and stuck rows; compare describing with evidence."""
    stage, sizes = prepared.stage, prepared.sizes
    client, share = stage.temporal, int(sizes.open * SHARE)
    healthy = await open_workflows.make_waiting(client, sizes.open)
    stuck = [
        *await open_workflows.make_unworked(client, share),
        *await open_workflows.make_failing(client, share),
        *await open_workflows.make_retrying(client, share),
        *await open_workflows.make_parents(client, share),
    ]
    mixed = _spread(stuck, healthy[: sizes.open - len(stuck)])
    with patch.object(no_worker, "WAITED", timedelta(0)):
        of_healthy = await _more_calls(stage, "healthy", healthy)
        of_stuck = await _more_calls(stage, "stuck", mixed)
    few, passed, concurrency = healthy[:500], mixed[:2000], prepared.ceiling.concurrency
    best_of = 4 * sizes.rounds
    kept, unkept = await _described(stage, few, concurrency, best_of)
    method = _METHOD.format(
        rows=len(mixed),
        queues=open_workflows.QUEUES,
        few=len(few),
        concurrency=concurrency,
        best_of=best_of,
        passed=len(passed),
        rounds=sizes.rounds,
    )
    watched, unwatched = await _passed(stage, passed, sizes.rounds)
    limit = at_most(5, "%")
    return Result(
        "Rows that are open: why they are stuck",
        method,
        [
            Figure("healthy: more calls", 100 * of_healthy, "%", goal=limit),
            Figure("stuck: more calls", 100 * of_stuck, "%", goal=limit),
            Figure("describes per second of CPU, without evidence", max(unkept), "rows/s"),
            Figure(
                "describes per second of CPU, with evidence",
                max(kept),
                "rows/s",
                max(kept) / max(unkept),
                "of without",
                at_least(0.97, "×"),
            ),
            Figure("passes, nothing recorded", median(unwatched), "rows/s"),
            Figure(
                "passes, stuck rows recorded",
                median(watched),
                "rows/s",
                paired(watched, unwatched),
                "of without",
                at_least(0.9, "×"),
            ),
        ],
    )


def _spread(some: Sequence[Run], others: Sequence[Run]) -> Sequence[Run]:
    """Both, with those of the first spread evenly over the table."""
    every = max((len(some) + len(others)) // max(len(some), 1), 1)
    mixed, rest = list[Run](), iter(others)
    for run in some:
        mixed += [run, *islice(rest, every - 1)]
    return [*mixed, *rest]


async def _more_calls(stage: Stage, name: str, runs: Sequence[Run]) -> float:
    """Calls of a pass beyond one per row, per row."""
    url = await stage.database(name)
    await fill(url, runs)
    async with passes.opened(url, max_rps=0, visibility_rps=0, **_EVERY) as app:
        report = await passes.once(app)
    assert report.tally.scanned == len(runs)
    return sum(report.rpcs[kind] for kind in RPC_KINDS) / len(runs) - 1


async def _described(
    stage: Stage, runs: Sequence[Run], concurrency: int, rounds: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Rows described per second of CPU, with the evidence and without."""
    probe = NamespacesProbe(Rpc(stage.temporal, RateLimiter(0)))
    rows = [RunRow(number, run.workflow_id, run.run_id, None) for number, run in enumerate(runs)]
    await _observe_all(probe, rows, concurrency)  # warm up
    kept, unkept = list[float](), list[float]()
    for _ in range(rounds):
        kept.append(await _observe_all(probe, rows, concurrency))
        with patch.object(probe_module, "still_open", _without_evidence):
            unkept.append(await _observe_all(probe, rows, concurrency))
    return kept, unkept


async def _passed(
    stage: Stage, runs: Sequence[Run], rounds: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Rows per second of passes that record what is stuck, and of passes that do not."""
    url = await stage.database("recorded")
    await fill(url, runs)
    recorded, unrecorded = list[float](), list[float]()
    async with passes.opened(url, max_rps=0, visibility_rps=0, **_EVERY) as app:
        await passes.once(app)  # warm up
        for _ in range(rounds):
            recorded.append(await _speed(app))
            with patch.object(Bookkeeping, "stuck_rows", return_value=None):
                unrecorded.append(await _speed(app))
    return recorded, unrecorded


async def _speed(app: App) -> float:
    with patch.object(no_worker, "WAITED", timedelta(0)):
        report = await passes.once(app)
    return report.tally.scanned / report.duration_seconds


def _without_evidence(namespace: str, description: DescribeWorkflowExecutionResponse) -> Open:  # noqa: ARG001
    return Open(status_name(description.workflow_execution_info))


async def _observe_all(probe: NamespacesProbe, rows: Sequence[RunRow], concurrency: int) -> float:
    waiting = iter(rows)

    async def observe() -> list[object]:
        """Keeps what it observes, like a pass its page."""
        return [await probe.observe(row) for row in waiting]

    started = time.process_time()
    await asyncio.gather(*(observe() for _ in range(concurrency)))
    return len(rows) / (time.process_time() - started)
