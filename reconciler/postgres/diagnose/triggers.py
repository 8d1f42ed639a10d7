"""The application's triggers that a write can fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.schema import OWN_SCHEMA, changes
from reconciler.postgres.table.mapping import MappedTable

_BEFORE = 2
# Those of the table and its partitions on UPDATE (16), if of a column that is written; on INSERT
# (4) and DELETE (8) too where a status can move a row to another partition; those of the journal on
# INSERT. Not those for replicas only, the internal ones of foreign keys, and the copies that each
# partition has of its table's.
_TRIGGERS = sa.text(
    "WITH tree AS (SELECT CAST(:oid AS oid) AS oid"
    "  UNION SELECT relid FROM pg_partition_tree(CAST(CAST(:oid AS oid) AS regclass))),"
    " moves AS (SELECT EXISTS (SELECT FROM tree JOIN pg_partitioned_table p ON p.partrelid = oid"
    "  JOIN pg_attribute a ON a.attrelid = oid AND a.attnum = ANY (p.partattrs::int2[])"
    "  WHERE a.attname = ANY (:written)) AS rows),"
    " fired AS (SELECT oid, CASE WHEN moves.rows THEN 28 ELSE 16 END AS events FROM tree, moves"
    "  UNION ALL SELECT j.oid, 4 FROM pg_class j JOIN pg_namespace s ON s.oid = j.relnamespace"
    "  WHERE s.nspname = :own_schema AND j.relname = :journal)"
    " SELECT t.tgname::text, t.tgrelid::regclass::text, t.tgfoid::regproc::text, t.tgtype::int,"
    "  t.tginitdeferred FROM pg_trigger t JOIN fired ON fired.oid = t.tgrelid"
    " WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A')"
    "  AND t.tgtype & fired.events <> 0"
    "  AND (t.tgtype & fired.events & 12 <> 0 OR cardinality(t.tgattr::int2[]) = 0"
    "   OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.tgrelid"
    "    AND a.attnum = ANY (t.tgattr::int2[]) AND a.attname = ANY (:written)))"
    " ORDER BY t.tgrelid <> :oid, t.tgtype & 2 = 0, t.tgname"
).bindparams(
    sa.bindparam("oid", type_=postgresql.OID),
    sa.bindparam("written", type_=postgresql.ARRAY(sa.Text)),
)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that is enabled."""

    name: str
    #: Its table, with the schema unless the search_path finds it.
    table: str
    function: str
    #: `BEFORE`, `AFTER`, or `deferred`.
    timing: str


async def find_triggers(engine: AsyncEngine, table: MappedTable) -> Sequence[Trigger]:
    """The triggers that a pass's write can fire, in the order of BEFORE and AFTER.

    A trigger's WHEN condition is not evaluated. Raises `DatabaseUnusable`.
    """
    given = {
        "oid": table.relation.oid,
        "written": list(table.mapping.names.written),
        "own_schema": OWN_SCHEMA,
        "journal": changes.name,
    }
    with translated(f"read the triggers of {table.full_name}", engine):
        found = await fetch(engine, _TRIGGERS, given)
    return [
        Trigger(name, of, f"{function}()", _timing(kind, deferred=deferred))
        for name, of, function, kind, deferred in found
    ]


def _timing(kind: int, *, deferred: bool) -> str:
    if deferred:
        return "deferred"
    return "BEFORE" if kind & _BEFORE else "AFTER"
