"""What takes both sides: rows, and what Temporal says about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.progress import Span
from reconciler.core.window import WindowCount
from reconciler.doctor import judge
from reconciler.doctor.clocks import temporal_clock
from reconciler.doctor.findings import Finding
from reconciler.postgres.mapping import MappedTable
from reconciler.postgres.sample import last_rows, oldest_rows
from reconciler.postgres.store import PostgresStore
from reconciler.temporal.namespace import Namespace
from reconciler.temporal.probe import TemporalProbe
from reconciler.temporal.rpc import Rpc
from reconciler.temporal.server import start_times

#: Rows that Temporal is asked about.
SAMPLE = 10


async def check_oldest(
    engine: AsyncEngine,
    table: MappedTable,
    namespace: Namespace,
    probe: TemporalProbe,
    now: datetime,
) -> Sequence[Finding]:
    """Whether the outcomes of running rows are about to be lost. `now` is the database's."""
    store = PostgresStore(engine, table)
    until = await store.last_running()
    running = WindowCount()
    if until is not None:
        running = await store.count_running(Span(None, until))
    retention = namespace.retention
    observations = []
    if running.oldest is not None and judge.is_near(now - running.oldest, retention):
        rows = await oldest_rows(engine, table, SAMPLE)
        near = [r for r in rows if r.created_at and judge.is_near(now - r.created_at, retention)]
        observations = await asyncio.gather(*(probe.observe(row) for row in near))
    return [judge.oldest_row(running, now, retention, observations)]


async def check_temporal_clock(
    engine: AsyncEngine,
    table: MappedTable,
    rpc: Rpc,
    grace: timedelta,
    clock: Callable[[], datetime],
) -> Sequence[Finding]:
    """Temporal's clock by the starts of workflows. `clock` is this host's."""
    rows = await last_rows(engine, table, SAMPLE)
    asked = [row for row in rows if row.run_id and row.created_at]
    starts = await start_times(rpc, asked)
    after = [start - row.created_at for row, start in starts.items() if row.created_at]
    future = max((start - clock() for start in starts.values()), default=timedelta(0))
    return [temporal_clock(after, future, grace)]
