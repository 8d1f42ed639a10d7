"""How PostgreSQL would read a page of running rows, without reading it: EXPLAIN, and no ANALYZE."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.migrate.application_table import find_missing
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable


class IndexState(Enum):
    """Our partial index, as `reconciler migrate` would find it."""

    THERE = auto()
    MISSING = auto()
    #: Invalid, or on another key or for another status value.
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How a page is read, and how it would be if the planner had to use an index."""

    index: IndexState
    #: The scans of the table, in EXPLAIN's words.
    scans: str
    #: Whether they read running rows alone; and whether they would, if they had to use an index.
    served: bool
    servable: bool


class _Explain(sa.Executable, sa.ClauseElement):
    """The plan of a statement as JSON. Bound values count in it, as they do when it is executed."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


async def plan_page(engine: AsyncEngine, table: MappedTable, limit: int) -> PagePlan:
    """The plan of the very statement that a pass reads its first page with.

    Where no row is running a pass asks for nothing but the last one. On a small table the planner
    reads everything, whatever indexes there are: so it is asked a second time, as if that were
    dear. Raises `DatabaseUnusable`.
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
            index = await connection.run_sync(_index_state, table)
    told = dict.fromkeys(f"{kind} using {name}" if name else kind for kind, name in scans)
    return PagePlan(index, ", ".join(told), served, servable=served or forced)


def _index_state(connection: sa.Connection, table: MappedTable) -> IndexState:
    statements = find_missing(connection, table.mapping).index
    if any(statement.startswith("DROP ") for statement in statements):
        return IndexState.BROKEN
    return IndexState.MISSING if statements else IndexState.THERE


_Scans = list[tuple[str, str | None]]


async def _scans(connection: AsyncConnection, query: sa.Select[Any]) -> _Scans:
    """Each scan of the table, with its index if it uses one."""
    plan = await connection.scalar(_Explain(query))
    return list(find_scans((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def find_scans(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The scans in a plan. A bitmap's is told once, by its index."""
    kind = node["Node Type"]
    if "Index Name" in node:
        yield kind, node["Index Name"]
    elif "Relation Name" in node and kind != "Bitmap Heap Scan":
        yield kind, None
    for child in node.get("Plans", ()):
        yield from find_scans(child)


# Indexes by which running rows are read without others: they hold no others, or are sorted by the
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
