"""How PostgreSQL would read a page of running rows: EXPLAIN without ANALYZE."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.diagnose.explain import Explain
from reconciler.postgres.migrate.application_table import find_missing
from reconciler.postgres.migrate.running_index import IndexPlan
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable


class IndexState(Enum):
    """The state of the partial index, as `reconciler migrate` sees it."""

    THERE = auto()
    MISSING = auto()
    #: Invalid, because building it was interrupted.
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How a page is read, also if the planner had to use an index."""

    index: IndexState
    #: The scans of the table, as EXPLAIN names them.
    scans: str
    #: Whether they read running rows only; and whether they would if they had to use an index.
    served: bool
    servable: bool
    #: The partial index's name, and those like it for other columns or running values.
    name: str
    others: tuple[str, ...] = ()


async def plan_page(engine: AsyncEngine, table: MappedTable, limit: int) -> PagePlan:
    """The plan of the statement that reads the first page of a pass.

    If no row is running, that is the query for the last running row. On a small table the planner
    prefers to read everything, so the second plan is made without sequential scans. Raises
    `DatabaseUnusable`.
    """
    store = PostgresStore(engine, table)
    until = await store.last_running()
    query = store.last() if until is None else store.page(None, until, limit)
    with translated(f"explain how {table.full_name} is read", engine):
        async with engine.connect() as connection:
            scans = await _scans(connection, query)
            served = await _serve(connection, table, scans)
            await connection.execute(sa.select(sa.func.set_config("enable_seqscan", "off", True)))  # noqa: FBT003
            forced = await _serve(connection, table, await _scans(connection, query))
            index = (await connection.run_sync(find_missing, table.mapping)).index
    described = dict.fromkeys(f"{kind} using {name}" if name else kind for kind, name in scans)
    shown = ", ".join(described)
    return PagePlan(_state_of(index), shown, served, served or forced, index.name, index.others)


def _state_of(index: IndexPlan) -> IndexState:
    if any(statement.startswith("DROP ") for statement in index.statements):
        return IndexState.BROKEN
    return IndexState.MISSING if index.statements else IndexState.THERE


_Scans = list[tuple[str, str | None]]


async def _scans(connection: AsyncConnection, query: sa.Select[Any]) -> _Scans:
    """The scans of the table, each with its index if it uses one."""
    plan = await connection.scalar(Explain(query))
    return list(find_scans((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def find_scans(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The scans in a plan. A bitmap scan counts once, with its index."""
    kind = node["Node Type"]
    if "Index Name" in node:
        yield kind, node["Index Name"]
    elif "Relation Name" in node and kind != "Bitmap Heap Scan":
        yield kind, None
    for child in node.get("Plans", ()):
        yield from find_scans(child)


# Indexes that find running rows without reading others: they contain no others, or are sorted by
# status first. A partition has indexes of its own.
_SERVING = sa.text(
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_class t ON t.oid = i.indrelid"
    " LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE c.relname = ANY(:indexes) AND (t.oid = to_regclass(:table) OR t.relispartition)"
    " AND (a.attname = :status OR strpos(pg_get_expr(i.indpred, i.indrelid), :status) > 0)"
).bindparams(sa.bindparam("indexes", type_=postgresql.ARRAY(sa.Text)))


async def _serve(connection: AsyncConnection, table: MappedTable, scans: _Scans) -> bool:
    indexes = {name for _, name in scans if name is not None}
    relation = connection.dialect.identifier_preparer.format_table(table.table)
    given = {"indexes": list(indexes), "table": relation, "status": table.status.name}
    serving = set(await connection.scalars(_SERVING, given))
    return bool(scans) and all(name in serving for _, name in scans)
