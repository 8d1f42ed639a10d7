"""The values of the status column with their counts, without reading the whole table.

The oldest and newest rows are read by their keys. In a larger table, the planner's statistics add
the other values and the counts; a partitioned table has them in its partitions. Both are bounded,
and have a time limit of their own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.core.status_review import StatusCount, StatusCounts
from reconciler.postgres.connection.encoding import read_as_bytes, shown
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.explain import Explain
from reconciler.postgres.connection.queries import read_transaction
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import is_running
from reconciler.postgres.table.types import as_text

#: How many of the oldest and of the newest rows are read.
SAMPLE = 1_000
#: How many rows are read of a value that none of these has.
FEW = 10
#: Milliseconds for each statement: dead rows may make even a short scan slow.
TIMEOUT = 1_000

# The statistics of a table, or of all its partitions, as far as the role may see them. The values
# are printed as the type does in an array, and $text makes of them what a cast to text does.
_STATISTICS = (
    "WITH leaf AS (SELECT CAST(:oid AS oid) AS oid"
    "  UNION SELECT relid FROM pg_partition_tree(CAST(CAST(:oid AS oid) AS regclass)) WHERE isleaf)"
    " SELECT c.reltuples, s.null_frac, ARRAY(SELECT $text"
    "  FROM unnest(CAST(CAST(s.most_common_vals AS text) AS text[])) AS value) AS vals,"
    " s.most_common_freqs AS freqs FROM leaf JOIN pg_class c ON c.oid = leaf.oid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_stats s ON s.schemaname = n.nspname"
    "  AND s.tablename = c.relname AND s.attname = :status AND NOT s.inherited"
    " WHERE c.reltuples > 0"
)


@dataclass(slots=True)
class _Count:
    rows: float = 0
    sampled: int = 0
    newest: int = 0
    ended: int = 0


async def count_statuses(engine: AsyncEngine, table: MappedTable) -> StatusCounts:
    """The values of the status column in the rows that passes cover, with their counts.

    Raises `DatabaseUnusable`, also if that takes too long.
    """
    found: dict[str | None, _Count] = defaultdict(_Count)
    with translated(f"count the statuses of {table.full_name}", engine):
        async with read_transaction(engine) as connection:
            limit = sa.func.set_config("statement_timeout", str(TIMEOUT), True)  # noqa: FBT003
            await connection.execute(sa.select(limit))
            sample = (await connection.execute(_sample(table))).all()
            for status, included, rows, ended, newest in sample:
                if included:
                    value = None if status is None else shown(status, table.codec)
                    found[value] = _Count(rows, rows, newest, ended)
            exact = sum(row.newest for row in sample) < SAMPLE
            where = table.mapping.where
            if where is not None and sample and not found:
                # A filter by the status leaves out what the operator knows.
                nothing = table.status.name not in where.columns and (
                    exact or await _selects_nothing(connection, table)
                )
                return StatusCounts((), exact=False, excluding=str(where) if nothing else None)
            # Text that cannot be read would fail the statement.
            if where is None and not exact and not read_as_bytes(table.relation.encoding):
                for value, count in await _statistics(connection, table):
                    found[value].rows = max(found[value].rows, count)
                for value in [value for value, each in found.items() if not each.sampled]:
                    found[value].sampled, found[value].ended = await _look_at(
                        connection, table, value
                    )
    counts = [
        StatusCount(value, round(each.rows), each.sampled, each.newest, each.ended)
        for value, each in found.items()
    ]
    counts.sort(key=lambda each: (-each.rows, str(each.value)))
    return StatusCounts(tuple(counts), exact)


def _sample(table: MappedTable) -> sa.Select[Any]:
    """The statuses of the newest and oldest rows by key, and whether passes cover these rows."""
    row = sa.select(
        table.id.label("key"),
        as_text(table.status).label("status"),
        table.is_included.label("included"),
        _has_ended(table).label("ended"),
    ).select_from(table.table)
    if not table.relation.finds_keys:  # sorting would read the whole table
        both = row.add_columns(sa.true().label("newest")).limit(SAMPLE).subquery()
        return _grouped(table, both)
    newest = row.order_by(table.id.desc()).limit(SAMPLE).cte(table.beside("newest"))
    size = sa.select(sa.func.count()).select_from(newest).scalar_subquery()
    lowest = sa.select(newest.c.key).order_by(newest.c.key).limit(1).scalar_subquery()
    oldest = row.where(size == SAMPLE, table.id < lowest).order_by(table.id).limit(SAMPLE)
    oldest_rows = oldest.cte(table.beside("oldest"))
    ends = [
        sa.select(end, sa.literal(value).label("newest"))
        for end, value in ((newest, True), (oldest_rows, False))
    ]
    return _grouped(table, sa.union_all(*ends).subquery())


def _grouped(table: MappedTable, rows: sa.Subquery) -> sa.Select[Any]:
    status, included = rows.c.status, rows.c.included
    return sa.select(
        table.read_text(status),
        included,
        sa.func.count(),
        sa.func.count().filter(rows.c.ended),
        sa.func.count().filter(rows.c.newest).label("newest"),
    ).group_by(status, included)


def _has_ended(table: MappedTable) -> sa.ColumnElement[bool]:
    workflow_id = sa.func.coalesce(sa.cast(table.workflow_id, sa.Text), "")
    return sa.or_(table.written()["completed_at"].is_not(None), workflow_id == "")


async def _look_at(
    connection: AsyncConnection, table: MappedTable, value: str | None
) -> tuple[int, int]:
    """Read some rows with a value: their number, and how many have ended.

    Statistics only have frequent values, so these rows are found soon; or else it is given up.
    """
    row = sa.select(_has_ended(table).label("ended")).select_from(table.table)
    some = row.where(is_running(table.status, [value])).limit(FEW).subquery()
    query = sa.select(sa.func.count(), sa.func.count().filter(some.c.ended)).select_from(some)
    try:
        async with connection.begin_nested():
            found, ended = (await connection.execute(query)).one()
            return found, ended
    except DBAPIError:
        return 0, 0


async def _statistics(
    connection: AsyncConnection, table: MappedTable
) -> Sequence[tuple[str | None, float]]:
    """The values as text, with estimated numbers of rows; none if the role may not see them."""
    value = sa.cast(sa.cast(sa.literal_column("value", sa.Text), table.status.type), sa.Text)
    text = str(value.compile(dialect=connection.dialect))
    query = sa.text(_STATISTICS.replace("$text", text.replace(":", "\\:")))
    given = {"oid": table.relation.oid, "status": table.status.name}
    counts: dict[str | None, float] = defaultdict(float)
    try:
        async with connection.begin_nested():
            found = (await connection.execute(query, given)).all()
    except DBAPIError:
        return []
    for rows, nulls, values, shares in found:
        counts[None] += rows * nulls
        for value, share in zip(values or (), shares or (), strict=True):
            counts[value] += rows * share
    return [(value, count) for value, count in counts.items() if round(count)]


async def _selects_nothing(connection: AsyncConnection, table: MappedTable) -> bool:
    """Whether the planner expects that RECONCILER_WHERE selects no row.

    It never expects less than one. Without statistics, it guesses a share of the table.
    """
    query = sa.select(sa.literal(1)).select_from(table.table).where(table.is_included)
    plan = await connection.scalar(Explain(query))
    return bool((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"] <= 1)
