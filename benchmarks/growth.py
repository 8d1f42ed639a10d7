"""The same pass over more and more rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import cycle, islice

import asyncpg

from benchmarks.figures import Figure, Result, at_most
from benchmarks.one_size import Pass, in_a_process
from benchmarks.prepared import Prepared
from benchmarks.scripted import fill_stale
from benchmarks.stage import Stage, fill
from benchmarks.statements import Statement, watched
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.connection.explain import find_scans
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import map_table
from reconciler.postgres.table.names import TableMapping

BATCH = 500
MOST_MB, MOST_MS = at_most(30, "MB"), at_most(100, "ms")

_REAL = (
    "`once` with `RECONCILER_MAX_RPS=0` over rows of completed workflows, each size in a process "
    "of its own. The rows share the same {runs:,} workflows: making one per row would take longer "
    "than reconciling them, and a row costs the same. Connections are the maximum of five samples "
    "per second."
)
_SCRIPTED = (
    "A backfill that fails missing rows, each size in a process of its own, on a real PostgreSQL. "
    "A scripted Temporal answers immediately, so only the reconciler is measured. Of ten rows four "
    "have completed, two have failed, one is open and three are missing; missing rows are read "
    "twice. A statement's time is measured in the client: it includes delays of the event loop, "
    "but not the pauses of Python's garbage collector."
)


async def measure_real(prepared: Prepared) -> Result:
    """Measure time, calls, memory and connections on the real servers."""
    stage, runs = prepared.stage, prepared.completed
    figures: list[Figure] = []
    for rows in prepared.sizes.growth:
        url = await stage.database(f"growth_{rows}")
        await fill(url, list(islice(cycle(runs), rows)))
        seen = await in_a_process("once", url)
        figures += [
            Figure(f"{rows:,} rows: time per row", seen.seconds / rows * 1000, "ms"),
            Figure(f"{rows:,} rows: calls per row", seen.calls / rows, ""),
            Figure(f"{rows:,} rows: resident memory at most", seen.peak_mb, "MB"),
            Figure(f"{rows:,} rows: connections to PostgreSQL", seen.to_postgres, ""),
            Figure(f"{rows:,} rows: connections to Temporal", seen.to_temporal, ""),
        ]
    return Result("Growth, on the real servers", _REAL.format(runs=len(runs)), figures)


async def measure_scripted(prepared: Prepared) -> Result:
    """Measure memory, page plans and the longest statements; Temporal answers immediately."""
    stage = prepared.stage
    few, many = prepared.sizes.scripted
    small = await _scripted(stage, few)
    url = await stage.database(f"scripted_{many}")
    await fill_stale(url, many)
    pages = await _pages(url, many)
    large = await in_a_process("scripted", url)
    figures: list[Figure] = []
    for rows, seen in ((few, small), (many, large)):
        figures += [
            Figure(f"{rows:,} rows: speed", rows / seen.seconds, "rows/s"),
            Figure(f"{rows:,} rows: resident memory at most", seen.peak_mb, "MB"),
        ]
    growth = max(large.peak_mb - small.peak_mb, 0)
    figures.append(Figure(f"memory, {few:,} to {many:,} rows", growth, "MB more", goal=MOST_MB))
    return Result(
        "Growth, with a scripted Temporal", _SCRIPTED, [*figures, *pages, *_statements(large, many)]
    )


async def _scripted(stage: Stage, rows: int) -> Pass:
    url = await stage.database(f"scripted_{rows}")
    await fill_stale(url, rows)
    return await in_a_process("scripted", url)


def _statements(seen: Pass, rows: int) -> Sequence[Figure]:
    figures: list[Figure] = []
    for kind, (longest, middle) in sorted(seen.statements.items()):
        figures += [
            Figure(f"{rows:,} rows: {kind}, median", middle, "ms"),
            Figure(f"{rows:,} rows: {kind}, longest", longest, "ms", goal=MOST_MS),
        ]
    return figures


async def _pages(url: str, rows: int) -> Sequence[Figure]:
    """Count scans without an index for the first page, one in the middle, and the last."""
    connection = await asyncpg.connect(url)
    figures: list[Figure] = []
    async with using_engine(url) as engine:
        seen: list[Statement] = []
        with watched(seen.append):
            table = await map_table(engine, TableMapping(), writing=True)
            store = PostgresStore(engine, table)
            for place, after in (("first", None), ("middle", rows // 2), ("last", rows - BATCH)):
                seen.clear()
                await store.scan_running(after, rows, BATCH)
                page = next(each for each in seen if each.kind == "a page's read")
                explain = f"EXPLAIN (FORMAT JSON) {page.query}"
                plan = json.loads(await connection.fetchval(explain, *page.arguments))[0]["Plan"]
                whole = sum(index is None for _, index in find_scans(plan))
                name = f"{rows:,} rows: {place} page, scans without an index"
                figures.append(Figure(name, whole, "", goal=at_most(0)))
    await connection.close()
    return figures
