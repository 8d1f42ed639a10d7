"""A backfill of 10,000 and of 1,000,000 rows: memory, speed along the way, the cost of the journal.

A real PostgreSQL, and a scripted Temporal that answers at once, so that what is measured is ours.
Each size has a process of its own, because what a process has once had in memory it keeps. Run by
`make bench`; prints a table.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import uuid4

import asyncpg
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from reconciler.core.model import (
    Closed,
    CloseStatus,
    Missing,
    Observation,
    Open,
    Outcome,
    RunRow,
)
from reconciler.core.report import PassReport
from reconciler.core.verdict import MissingPolicy, Policy, StatusValues
from reconciler.demo.servers import postgres_server
from reconciler.logs import configure_logs
from reconciler.pass_log import PassLog
from reconciler.postgres.engine import open_engine
from reconciler.postgres.history import PassHistory
from reconciler.postgres.mapping import map_table
from reconciler.postgres.migrate import migrate
from reconciler.postgres.store import PostgresStore, _arrays
from reconciler.postgres.tables import TableMapping
from reconciler.postgres.write import finish_given, guarded_write
from reconciler.reconcile import PassOptions, run_pass

SMALL, LARGE = 10_000, 1_000_000
BATCH = 500
#: What is asked of it, as in the runbook.
MOST_GROWTH_MB, LEAST_JOURNALLED = 30, 0.55
NOW = datetime.now(UTC)
END = NOW - timedelta(days=1)
MAPPING = TableMapping()


class ScriptedProbe:
    """Of ten rows, four completed, two failed, one is open, three are missing."""

    _ANSWERS: Sequence[Observation] = (
        *[Closed(CloseStatus.COMPLETED, END, "run", None, "Order")] * 4,
        *[Closed(CloseStatus.FAILED, END, "run", "OrderFailed: card declined", "Order")] * 2,
        Open(),
        *[Missing()] * 3,
    )

    async def retention(self) -> timedelta:
        return timedelta(days=30)

    async def observe(self, row: RunRow) -> Observation:
        return self._ANSWERS[int(str(row.id)) % len(self._ANSWERS)]

    def rpcs(self) -> Mapping[str, int]:
        return {}


async def fill(url: str, rows: int) -> None:
    """A table of nothing but stale rows, a year old."""
    await migrate(url, MAPPING)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
        " SELECT 'order-' || n, gen_random_uuid(), now() - interval '1 year'"
        f" FROM generate_series(1, {rows}) n"
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()


async def scan(store: PostgresStore) -> list[float]:
    """Read every page as a pass does, and nothing else; how long each took."""
    until, after = await store.last_running(), None
    seconds: list[float] = []
    assert until is not None
    while True:
        started = time.perf_counter()
        rows = await store.scan_running(after, until, BATCH)
        if not rows:
            return seconds
        seconds.append(time.perf_counter() - started)
        after = rows[-1].id


async def backfill(url: str) -> Mapping[str, float]:
    """The pass of a backfill that fails missing rows; its figures."""
    engine = open_engine(url)
    store = PostgresStore(engine, await map_table(engine, MAPPING, writing=True))
    pages = await scan(store)
    history = PassHistory(engine, MAPPING.names.full_name, "default", StatusValues())
    options = PassOptions("backfill", batch_size=BATCH)
    report = options.new_report(NOW)
    report.asked = {}
    policy = Policy(retention=timedelta(days=30), missing=MissingPolicy.FAIL)
    log = PassLog(each_row=False)
    started = time.perf_counter()
    await run_pass(store, ScriptedProbe(), [history], policy, options, NOW, log, report)
    seconds = time.perf_counter() - started
    await engine.dispose()
    assert report.error is None, report.error
    tenth = max(len(pages) // 10, 1)
    return {
        "rows": report.scanned,
        "written": report.changed,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "first_ms": median(pages[:tenth]) * 1000,
        "last_ms": median(pages[-tenth:]) * 1000,
    }


async def journal_ratio(url: str, batches: int = 60) -> float:
    """The speed of the journalled write as a share of the same write without a journal.

    Both write other rows of the same table in turn, so that what disturbs one disturbs the other.
    """
    await fill(url, 2 * batches * BATCH)
    engine = open_engine(url)
    table = await map_table(engine, MAPPING, writing=True)
    history = PassHistory(engine, MAPPING.names.full_name, "default", StatusValues())
    report = PassReport(str(uuid4()), "backfill", dry_run=False, started_at=NOW)
    await history.on_start(report)
    statements = (guarded_write(table), sa.select(finish_given(table).c.id))
    seconds: tuple[list[float], list[float]] = ([], [])
    last = None
    for number in range(2 * batches):
        rows = await PostgresStore(engine, table).scan_running(last, 2**62, BATCH)
        last = rows[-1].id
        outcomes = [Outcome(row, "failed", END, "OrderFailed", "FAILED", "run") for row in rows]
        given = _arrays(report.pass_id, outcomes)
        started = time.perf_counter()
        async with engine.begin() as connection:
            await connection.execute(statements[number % 2], given)
        seconds[number % 2].append(time.perf_counter() - started)
    await engine.dispose()
    return median(seconds[1]) / median(seconds[0])


async def measured(size: int) -> Mapping[str, float]:
    """The figures of one size, from a process and a database of their own."""
    with postgres_server() as url:
        await fill(url, size)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, url, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await child.communicate()
        figures: Mapping[str, float] = json.loads(out)
        return figures


def print_table(small: Mapping[str, float], large: Mapping[str, float], journalled: float) -> None:
    """What was measured beside what is asked."""
    table = Table("", f"{SMALL:,} rows", f"{LARGE:,} rows", "asked")
    growth = large["peak_mb"] - small["peak_mb"]
    per_second = [figures["rows"] / figures["seconds"] for figures in (small, large)]
    peak = [f"{figures['peak_mb']:.0f} MB" for figures in (small, large)]
    table.add_row("peak resident memory", *peak, f"< {MOST_GROWTH_MB} MB more: {growth:+.1f} MB")
    table.add_row("rows per second", *(f"{speed:,.0f}" for speed in per_second), "")
    for name, key in (("a page, first tenth", "first_ms"), ("a page, last tenth", "last_ms")):
        table.add_row(name, f"{small[key]:.1f} ms", f"{large[key]:.1f} ms", "no slower at the end")
    told = f"≥ {LEAST_JOURNALLED}"
    table.add_row("journalled / not journalled write", "", f"{journalled:.2f}", told)
    Console().print(table)


async def main() -> None:
    """Measure everything, or in the child one size."""
    configure_logs("error", as_json=False)
    if len(sys.argv) > 1:
        print(json.dumps(await backfill(sys.argv[1])))
        return
    with postgres_server() as url:
        journalled = await journal_ratio(url)
    print_table(await measured(SMALL), await measured(LARGE), journalled)


if __name__ == "__main__":
    asyncio.run(main())
