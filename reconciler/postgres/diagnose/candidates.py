"""What `init` asks the database about tables that may contain workflows' rows. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch, read_transaction
from reconciler.postgres.diagnose.last_change import find_unset_in
from reconciler.postgres.table.candidates import FoundTable, read_tables
from reconciler.postgres.table.time_zones import Zone, zones_of

#: How many of the oldest and of the newest rows are sampled for values.
SAMPLE = 1000


async def find_tables(engine: AsyncEngine, name: str | None = None) -> list[FoundTable]:
    """The tables that have a column named like a workflow id, or those of this name.

    Raises `DatabaseUnusable`.
    """
    with translated("look for tables"):
        async with read_transaction(engine) as connection:
            return await connection.run_sync(read_tables, name)


async def sample_values(
    engine: AsyncEngine, table: FoundTable, column: str, key: str
) -> Sequence[str | None]:
    """The values of a column in the oldest and newest rows, the most frequent ones first."""
    of = sa.table(table.name, sa.column(column), sa.column(key), schema=table.schema)
    ends = [
        sa.select(of.c[column].label("value")).order_by(order).limit(SAMPLE).subquery()
        for order in (of.c[key].asc(), of.c[key].desc())
    ]
    both = sa.union_all(*(sa.select(end.c.value) for end in ends)).subquery()
    text = sa.cast(both.c.value, sa.Text)
    query = sa.select(text).group_by(text)
    query = query.order_by(sa.func.count().desc(), text)
    with translated(f"read {table.schema}.{table.name}"):
        return [value for (value,) in await fetch(engine, query)]


async def zones_of_default(engine: AsyncEngine, table: FoundTable, column: str) -> Sequence[Zone]:
    """The time zones in which a column's default may write; see `time_zones`."""
    with translated(f"read {table.schema}.{table.name}"):
        async with engine.connect() as connection:
            return await zones_of(connection, await connection.scalar(_oid_of(table)), column)


async def unset_by_triggers(engine: AsyncEngine, table: FoundTable) -> str | None:
    """The column for the time of the last change, if no trigger sets it; see `last_change`."""
    found = await fetch(engine, _oid_of(table))
    return await find_unset_in(engine, found[0][0])


def _oid_of(table: FoundTable) -> sa.TextClause:
    found = sa.text("SELECT CAST(to_regclass(format('%I.%I', :schema, :name)) AS oid)")
    return found.bindparams(schema=table.schema, name=table.name)
