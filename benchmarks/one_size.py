"""One pass over one table in a process of its own, as a process never gives memory back.

Run as a program, this is that process; `in_a_process` starts it and watches its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil

from benchmarks import passes
from benchmarks.scripted import scripted_backfill
from benchmarks.statements import Statement, watched
from reconciler.core.report.pass_report import RPC_KINDS

_SAMPLED_EVERY = 0.2
_CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'reconciler' AND datname = current_database()"
)


@dataclass(slots=True)
class Pass:
    """Measurements of a pass in a process of its own."""

    seconds: float
    calls: int
    #: Maximum of resident memory, in MB.
    peak_mb: float
    #: By kind of statement: the longest and the median, in milliseconds.
    statements: Mapping[str, tuple[float, float]]
    #: Maximum of open connections.
    to_postgres: int = 0
    to_temporal: int = 0


async def in_a_process(way: str, url: str) -> Pass:
    """Run a pass over the table of this database; `way` is "once" or "scripted"."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.one_size", way, url, stdout=asyncio.subprocess.PIPE
    )
    most = {"to_postgres": 0, "to_temporal": 0}
    watching = asyncio.create_task(_watch(url, psutil.Process(child.pid), most))
    out, _ = await child.communicate()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return Pass(**(json.loads(out) | most))


async def _watch(url: str, process: psutil.Process, most: dict[str, int]) -> None:
    connection = await asyncpg.connect(url)
    port = urlsplit(f"//{os.environ['TEMPORAL_ADDRESS']}").port
    try:
        while True:
            postgres = await connection.fetchval(_CONNECTIONS)
            most["to_postgres"] = max(most["to_postgres"], postgres)
            with contextlib.suppress(psutil.Error):  # it has ended
                temporal = sum(
                    bool(each.raddr) and each.raddr.port == port
                    for each in process.net_connections("tcp")
                )
                most["to_temporal"] = max(most["to_temporal"], temporal)
            await asyncio.sleep(_SAMPLED_EVERY)
    finally:
        await connection.close()


async def _pass(way: str, url: str) -> Mapping[str, Any]:
    # Keep times, not statements: those of a million rows would dominate the memory measured.
    times: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))

    def record(statement: Statement) -> None:
        times[statement.kind].append(statement.seconds * 1000)

    with watched(record), passes.logs_discarded():
        if way == "scripted":
            report = await scripted_backfill(url)
        else:
            async with passes.opened(url, max_rps=0) as app:
                report = await passes.once(app)
    return {
        "seconds": report.duration_seconds,
        "calls": sum(report.rpcs.get(kind, 0) for kind in RPC_KINDS),
        "peak_mb": peak_mb(),
        "statements": {kind: (max(each), median(each)) for kind, each in times.items()},
    }


def peak_mb(pid: int | None = None) -> float:
    """The maximum of resident memory of a running process, by default this one."""
    # Not `ru_maxrss`: on Linux a new program inherits that of its parent.
    status = Path(f"/proc/{pid or 'self'}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else psutil.Process(pid).memory_info().rss / 2**20


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_pass(*sys.argv[1:]))))
