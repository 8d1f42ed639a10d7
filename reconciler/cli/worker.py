"""The command `worker`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from reconciler.cli.base import Target, cli, load_each


@cli.command(
    epilog="""\b
Settings:
  RECONCILER_TASK_QUEUE=reconciler  the task queue, as for backfill --distribute
  RECONCILER_WORKER_NAMESPACE       its namespace, if not TEMPORAL_NAMESPACE

More: docs/machines.md""",
)
def worker(
    ranges: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="N", help="Ranges that it works on at a time."),
    ] = 4,
    target: Target = None,
) -> None:
    """Work on distributed backfills, until it is stopped.

    For a container or a service. Start as many as you like, on any machine that reaches the
    database and Temporal: `backfill --distribute` says how many ranges they work on, and how fast.
    """
    from reconciler.fleet.process import run_worker

    asyncio.run(run_worker(load_each(target), ranges))
