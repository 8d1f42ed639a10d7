"""What a daemon finds in its database: running rows, saved marks; and what it has written there."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from benchmarks import passes
from benchmarks.feed.daemon import until
from benchmarks.figures import Figure, at_least
from reconciler.core.model import CloseStatus

_OPEN = (
    "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
    " SELECT 'order-' || n, md5('order-' || n)::uuid::text, now() - interval '2 hours'"
    " FROM generate_series(1, $1::int) n"
)
_WRITTEN = (
    "SELECT workflow_id, extract(epoch FROM changed_at - close_time)::float8 AS seconds, found_by"
    " FROM reconciler.changes"
)


@dataclass(frozen=True, slots=True)
class Written:
    """A row that was finished."""

    workflow_id: str
    #: From the close time to the transaction that finished the row.
    seconds: float
    found_by: str


async def fill_open(url: str, rows: int) -> None:
    """Insert the running rows of `order-1` and so on, with their run ids, two hours old."""
    connection = await asyncpg.connect(url)
    await connection.execute(_OPEN, rows)
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()


async def save_marks(
    url: str, temporal: str, marks: Mapping[CloseStatus, datetime], ago: timedelta = timedelta()
) -> None:
    """Save the marks of a feed, as if a process had stopped that long ago.

    A daemon then follows them, and makes no pass over every row.
    """
    os.environ["TEMPORAL_ADDRESS"] = temporal
    async with passes.opened(url) as app:
        name = app.namespace.name
        await app.books.marks(app.table.scope).save(app.namespace.id or name, name, marks)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE reconciler.closings SET saved_at = saved_at - $1::interval", ago
    )
    await connection.close()


async def forget_passes(url: str) -> None:
    """Delete the records of passes, none of which has written anything."""
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM reconciler.passes")
    await connection.close()


async def until_written(url: str, rows: int) -> Sequence[Written]:
    """Wait until this many rows are finished, and return them."""
    connection = await asyncpg.connect(url)

    async def are_written() -> bool:
        written: int = await connection.fetchval("SELECT count(*) FROM reconciler.changes")
        return written >= rows

    try:
        await until(are_written)
        return [Written(*row) for row in await connection.fetch(_WRITTEN)]
    finally:
        await connection.close()


def found_by_the_feed(name: str, rows: Sequence[Written]) -> Figure:
    """How many rows the feed has found; the goal is all of them."""
    found = 100 * sum(row.found_by == "feed" for row in rows) / len(rows)
    return Figure(f"{name}: found by the feed", found, "%", goal=at_least(100, "%"))


def percentile(values: Iterable[float], percent: int) -> float:
    """The smallest of the values that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
