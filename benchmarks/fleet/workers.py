"""Workers of one task queue, each in a process of its own, and the backfills they work on."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from benchmarks import passes
from benchmarks.one_size import peak_mb
from reconciler.core.window import EVERY
from reconciler.fleet.messages import RANGE_ROWS, Backfill, Result, Speed
from reconciler.fleet.previewed import preview
from reconciler.fleet.started import Fleet

#: Seconds until a worker has started.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Workers:
    """Running processes."""

    url: str
    #: Settings of the workers, and of who starts the backfill.
    settings: Mapping[str, Any]
    processes: Sequence[asyncio.subprocess.Process]

    async def backfill(self, range_rows: int = RANGE_ROWS) -> tuple[Result, float]:
        """Run a backfill as the command does, but for the size of its ranges.

        Also returns the seconds from its start until its result is known.
        """
        async with passes.opened(self.url, **self.settings) as app:
            given = app.settings
            rates = given.max_rps, given.visibility_rps
            page = given.batch_size, given.concurrency
            speed = Speed(len(self.processes), *rates, *page, range_rows)
            backfill = Backfill(await preview(app, EVERY), speed, dry_run=False, asked={})
            began = time.monotonic()
            running = await Fleet(app).start(backfill, {})
            result = await running.handle.result()
            return result, time.monotonic() - began

    @property
    def peaks_mb(self) -> Sequence[float]:
        """Of each process, the maximum of resident memory."""
        return [peak_mb(each.pid) for each in self.processes]


@asynccontextmanager
async def working(
    url: str, count: int, program: str = "reconciler", **settings: Any
) -> AsyncIterator[Workers]:
    """Run workers, each with a range at a time, on a queue of their own.

    `program`: the module that is `reconciler`, or stands for it; `settings`: as in `Settings`.
    """
    settings |= {"task_queue": f"fleet-{uuid4()}"}
    named = {f"RECONCILER_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**os.environ, **named, "DATABASE_URL": url, "RECONCILER_LOG_FORMAT": "json"}
    async with AsyncExitStack() as stack:
        starting = [_worker(program, environment) for _ in range(count)]
        processes = [await stack.enter_async_context(each) for each in starting]
        yield Workers(url, settings, processes)


@asynccontextmanager
async def _worker(
    program: str, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that has started."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", program, "worker", "--ranges", "1"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    started = asyncio.Event()
    listening = asyncio.create_task(_listen(process, started))
    try:
        async with asyncio.timeout(PATIENCE):
            await started.wait()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await listening


async def _listen(process: asyncio.subprocess.Process, started: asyncio.Event) -> None:
    """Note that it has started; show what it complains about."""
    assert process.stderr is not None
    async for line in process.stderr:
        if b'"worker_started"' in line:
            started.set()
        if b'"info"' not in line:
            sys.stderr.buffer.write(line)
