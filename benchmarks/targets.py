"""Twenty targets in one process, one dead and one slow: memory, and what the others feel."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

import asyncpg

from benchmarks.feed.daemon import Daemon, running_in, until
from benchmarks.feed.scripted_temporal import RUN_OF, ScriptedTemporal, scripted_temporal
from benchmarks.feed.tables import percentile
from benchmarks.figures import Figure, Result, at_most
from benchmarks.prepared import Prepared
from benchmarks.stage import Stage
from reconciler.core.model import CloseStatus
from tests.support.network.proxy import proxy

GOOD = [f"good{number}" for number in range(18)]
#: These are as good as the others in one of the processes.
BAD = ["dead", "slow"]
#: Nothing listens there.
DEAD = "127.0.0.1:1"
#: Seconds by which each answer of the slow target's Temporal is late.
LATE = 2.0
#: Seconds between two closings of a target: polls are met at all of their moments.
EVERY = 1.97

_ROWS = (
    "INSERT INTO {table} (workflow_id, run_id, created_at)"
    " SELECT workflow_id, {run}, now() - interval '2 hours'"
    " FROM (SELECT '{table}-' || n AS workflow_id FROM generate_series(1, {rows}) n) row"
)
_SECONDS = (
    "SELECT extract(epoch FROM changed_at - close_time)::float8 AS seconds"
    " FROM reconciler.changes WHERE workflow_id LIKE 'good%'"
)
_CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'reconciler'"
)

_METHOD = (
    "Two `reconciler run` with 20 targets each, at the same time. In one all targets are good; in "
    "the other, Temporal refuses connections of one target, and every answer to another is "
    "{late:g} s late. In each process, all targets have one database, with a table each. Temporal "
    "is scripted; the good targets share an address, with a namespace each. For {seconds} s, a "
    "workflow of each target completes every two seconds; the settings have their defaults, so "
    "the feed is read every 5 s. *Time* is from the close time to the beginning of the transaction "
    "that finishes the row, of the 18 targets that are good in both."
)


@dataclass(slots=True)
class Side:
    """A process, its database, and the most that it has used."""

    daemon: Daemon
    script: ScriptedTemporal
    slow_namespace: str
    megabytes: float = 0
    connections: int = 0


async def measure(prepared: Prepared) -> Result:
    """Measure what twenty targets use, and whether two bad ones delay the others."""
    seconds, stage = prepared.sizes.targets_seconds, prepared.stage
    rows = int(seconds / EVERY)
    async with _side(stage, "targets", rows, {}) as good, _slow_address(good.script) as slow:
        bad = {"dead": DEAD, "slow": slow}
        async with _side(stage, "targets_beside", rows, bad) as beside:
            for each in (good, beside):
                await each.daemon.has_passed(len(GOOD))
            await _close_all([good, beside], rows)
            alone, with_bad = [await _times(each, rows * len(GOOD)) for each in (good, beside)]
    figures = [
        Figure("20 targets: memory", beside.megabytes, "MB", goal=at_most(250, "MB")),
        Figure("20 targets: connections to PostgreSQL", beside.connections, ""),
        Figure("all targets are good: mean time", mean(alone), "s"),
        *_compared("mean", mean(with_bad), mean(alone), limit=1.05),
        *_compared("99th percentile", percentile(with_bad, 99), percentile(alone, 99)),
    ]
    return Result("Twenty targets", _METHOD.format(late=LATE, seconds=seconds), figures)


def _compared(
    name: str, value: float, alone: float, limit: float | None = None
) -> Sequence[Figure]:
    goal = None if limit is None else at_most(limit)
    beside = f"beside a dead and a slow target: {name}"
    return [Figure(beside, value, "s", value / alone, "of that with good ones only", goal)]


@asynccontextmanager
async def _slow_address(script: ScriptedTemporal) -> AsyncIterator[str]:
    """The address of a Temporal whose answers are late."""
    host, _, port = script.address.rpartition(":")
    async with proxy(host, int(port)) as front:
        front.delay(LATE)
        yield f"127.0.0.1:{front.port}"


@asynccontextmanager
async def _side(stage: Stage, name: str, rows: int, bad: Mapping[str, str]) -> AsyncIterator[Side]:
    url = await stage.database(name)
    connection = await asyncpg.connect(url)
    for table in (*GOOD, *BAD):
        await connection.execute(f"CREATE TABLE {table} (LIKE workflow_executions INCLUDING ALL)")
        await connection.execute(_ROWS.format(table=table, run=RUN_OF, rows=rows))
    with tempfile.TemporaryDirectory() as folder:
        _configure(Path(folder), bad)
        async with (
            scripted_temporal() as script,
            running_in(Path(folder), url, script.address, {}) as daemon,
        ):
            side = Side(daemon, script, "default" if bad else "slow")
            watching = asyncio.create_task(_watch(side, connection))
            try:
                yield side
            finally:
                watching.cancel()
                await asyncio.wait({watching})
    await connection.close()


def _configure(folder: Path, bad: Mapping[str, str]) -> None:
    good = {each: f'temporal_namespace = "{each}"' for each in (*GOOD, *BAD)}
    others = {each: f'temporal_address = "{address}"' for each, address in bad.items()}
    sections = [
        f'[targets.{name}]\ntable = "{name}"\n{temporal}\n'
        for name, temporal in (good | others).items()
    ]
    (folder / "reconciler.toml").write_text("".join(sections))


async def _watch(side: Side, connection: asyncpg.Connection) -> None:
    while True:
        side.megabytes = max(side.megabytes, side.daemon.megabytes)
        side.connections = max(side.connections, await connection.fetchval(_CONNECTIONS))
        await asyncio.sleep(1)


async def _close_all(sides: Sequence[Side], rows: int) -> None:
    """Close a workflow of each target again and again, in both at the same moment."""
    began = time.monotonic()
    for row in range(1, rows + 1):
        for number, target in enumerate(GOOD):
            due = began + (row + number / len(GOOD)) * EVERY
            await asyncio.sleep(max(due - time.monotonic(), 0))
            for side in sides:
                at = datetime.now(UTC)
                side.script.close(f"{target}-{row}", CloseStatus.COMPLETED, at, target)
        for side in sides:
            at = datetime.now(UTC)
            side.script.close(f"slow-{row}", CloseStatus.COMPLETED, at, side.slow_namespace)


async def _times(side: Side, rows: int) -> Sequence[float]:
    """Seconds from close to row, once all are finished."""
    connection = await asyncpg.connect(side.daemon.url)

    async def are_written() -> bool:
        return len(await connection.fetch(_SECONDS)) >= rows

    await until(are_written)
    found = [row["seconds"] for row in await connection.fetch(_SECONDS)]
    await connection.close()
    return found
