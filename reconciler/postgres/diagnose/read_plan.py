"""How PostgreSQL would read running rows, a page or those of workflow ids: EXPLAIN, no ANALYZE."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.explain import Explain, Scans, scans_of
from reconciler.postgres.migrate.application_table import find_missing
from reconciler.postgres.migrate.index_statements import IndexPlan
from reconciler.postgres.rows.lookup.running import explain_running_of
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import BY_KEY, BY_WORKFLOW_ID


class IndexState(Enum):
    """The state of the partial index, as `reconciler migrate` sees it."""

    THERE = auto()
    MISSING = auto()
    #: Invalid, because building it was interrupted.
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How rows are read, also if the planner had to use an index."""

    index: IndexState
    #: The scans of the table, as EXPLAIN names them.
    scans: str
    #: Whether they read no other rows; and whether they would if they had to use an index.
    served: bool
    servable: bool
    #: The partial index's name, and those like it for other columns or running values.
    name: str
    others: tuple[str, ...] = ()


async def plan_page(engine: AsyncEngine, table: MappedTable, limit: int) -> ReadPlan:
    """The plan of the statement that reads the first page of a pass.

    If no row is running, that is the query for the last running row. Raises `DatabaseUnusable`.
    """
    store = PostgresStore(engine, table)
    until = await store.last_running()
    query = store.last() if until is None else store.page(None, until, limit)
    return await _plan(engine, table, query, BY_KEY)


async def plan_lookup(engine: AsyncEngine, table: MappedTable) -> ReadPlan:
    """The plan of the statement that finds the running rows of workflow ids for the feed.

    Raises `DatabaseUnusable`.
    """
    return await _plan(engine, table, explain_running_of(table), BY_WORKFLOW_ID)


async def _plan(
    engine: AsyncEngine, table: MappedTable, query: sa.Select[Any], purpose: str
) -> ReadPlan:
    """The plan as it is, and without sequential scans.

    On a small table the planner prefers to read everything, whatever indexes there are.
    """
    with translated(f"explain how {table.full_name} is read", engine):
        async with engine.connect() as connection:
            scans = scans_of(await connection.scalar(Explain(query)))
            served = await _serve(connection, table, scans, purpose)
            await connection.execute(sa.select(sa.func.set_config("enable_seqscan", "off", True)))  # noqa: FBT003
            forced = await _serve(
                connection, table, scans_of(await connection.scalar(Explain(query))), purpose
            )
            found = (await connection.run_sync(find_missing, table.mapping)).indexes
    index = next((each for each in found if each.purpose == purpose), IndexPlan("", purpose))
    described = dict.fromkeys(f"{kind} using {name}" if name else kind for kind, name in scans)
    shown = ", ".join(described)
    return ReadPlan(_state_of(index), shown, served, served or forced, index.name, index.others)


def _state_of(index: IndexPlan) -> IndexState:
    if any(statement.startswith("DROP ") for statement in index.statements):
        return IndexState.BROKEN
    return IndexState.MISSING if index.statements else IndexState.THERE


# Indexes that find the rows without reading others: for a page they contain no others, or are
# sorted by status first; for workflow ids they are sorted by these. A partition has indexes of its
# own.
_SERVING = sa.text(
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_class t ON t.oid = i.indrelid"
    " LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE c.relname = ANY(:indexes) AND (t.oid = to_regclass(:table) OR t.relispartition)"
    " AND (a.attname = ANY(:columns) OR strpos(pg_get_expr(i.indpred, i.indrelid), :status) > 0)"
).bindparams(
    sa.bindparam("indexes", type_=postgresql.ARRAY(sa.Text)),
    sa.bindparam("columns", type_=postgresql.ARRAY(sa.Text)),
    sa.bindparam("status", type_=sa.Text),
)


async def _serve(
    connection: AsyncConnection, table: MappedTable, scans: Scans, purpose: str
) -> bool:
    indexes, status = {name for _, name in scans if name is not None}, table.status.name
    relation = connection.dialect.identifier_preparer.format_table(table.table)
    given: dict[str, Any] = {"indexes": list(indexes), "table": relation}
    if purpose == BY_KEY:
        given |= {"columns": [status], "status": status}
    else:
        given |= {"columns": list(table.workflow_ids.looked_up), "status": None}
    serving = set(await connection.scalars(_SERVING, given))
    return bool(scans) and all(name in serving for _, name in scans)
