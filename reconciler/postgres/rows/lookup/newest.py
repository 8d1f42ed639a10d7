"""What the newest running rows say, as far as keys grow. Reads only."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.table.mapping import MappedTable

#: Rows that are read, from the end of the key.
AMONG = 500


async def newest_namespaces(engine: AsyncEngine, table: MappedTable) -> Collection[str]:
    """The namespaces that they name; none without such a column. Raises `DatabaseUnusable`."""
    if table.namespace is None:
        return set()
    newest = (
        sa.select(sa.cast(table.namespace, sa.Text).label("name"))
        .where(table.is_running)
        .order_by(table.id.desc())
        .limit(AMONG)
        .subquery()
    )
    query = sa.select(newest.c.name).where(newest.c.name != "").distinct()
    with translated(f"read {table.full_name}"):
        return {name for (name,) in await fetch(engine, query)}
