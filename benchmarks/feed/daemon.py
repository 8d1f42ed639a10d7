"""`reconciler run` in a process of its own, and what it costs.

Run as a program, this is that process: it writes a line for each statement that it sends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil

from benchmarks.statements import watched

#: Settings with which only the first pass is due, and little of the sweep.
NO_PASSES = {"INTERVAL": "1h", "FULL_SWEEP_INTERVAL": "365d"}
#: Seconds for whatever a benchmark waits for.
PATIENCE = 120.0
_PASSES = (
    "SELECT count(*) FROM reconciler.passes WHERE mode = 'run' AND finished_at IS NOT NULL"
    " AND started_at >= $1"
)


@dataclass(slots=True)
class Daemon:
    """A running process."""

    url: str
    process: asyncio.subprocess.Process
    started_at: datetime
    #: Statements sent to PostgreSQL so far, by what they are for.
    statements: Counter[str] = field(default_factory=Counter)

    async def listen(self) -> None:
        """Count statements until the process ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.statements[line.decode().strip()] += 1

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the process has used, in all its threads."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    @property
    def megabytes(self) -> float:
        """Memory that the process occupies now."""
        occupied: int = psutil.Process(self.process.pid).memory_info().rss
        return occupied / 2**20

    async def has_passed(self, times: int = 1) -> None:
        """Wait until passes of its schedule have ended."""
        connection = await asyncpg.connect(self.url)

        async def passed() -> bool:
            assert self.process.returncode is None, "`run` has ended"
            ended: int = await connection.fetchval(_PASSES, self.started_at)
            return ended >= times

        try:
            await until(passed)
        finally:
            await connection.close()


def running(url: str, temporal: str, **settings: str) -> AbstractAsyncContextManager[Daemon]:
    """Run the loop over the table of this database, with these settings.

    `temporal`: the address; `settings`: in upper case, without RECONCILER_.
    """
    return running_in(None, url, temporal, settings)


@asynccontextmanager
async def running_in(
    folder: Path | None, url: str, temporal: str, settings: Mapping[str, str]
) -> AsyncIterator[Daemon]:
    """The same in a folder, which may have a `reconciler.toml`."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "DATABASE_URL": url,
        "TEMPORAL_ADDRESS": temporal,
        "RECONCILER_HTTP_PORT": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),  # from whichever folder
        **{f"RECONCILER_{name}": value for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.feed.daemon", "run"),
        env=environment,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    daemon = Daemon(url, process, datetime.now(UTC))
    listening = asyncio.create_task(daemon.listen())
    try:
        yield daemon
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await listening


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it has happened; raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE):
        while not await happened():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    from reconciler.__main__ import main

    with watched(lambda statement: print(statement.kind, flush=True)):
        main()
