"""Tables that may contain workflows' rows, with facts about their columns. Reads only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.time_zones import Zone, zones_of

#: How many of the oldest and of the newest rows are sampled for values.
SAMPLE = 1000

# The columns of tables that have one named like a workflow id. For each column: its type, and the
# base type of a domain; whether it is part of the primary key but not of the partition key; whether
# it is unique; the values that an enum or a check allows.
_COLUMNS = sa.text(
    "WITH RECURSIVE t AS (SELECT c.oid, n.nspname, c.relname FROM pg_class c"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'"
    "  AND n.nspname NOT IN ('information_schema', :own)"
    "  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0"
    "   AND NOT a.attisdropped AND a.attname ~* '(workflow|^wf)')),"
    " made_of AS (SELECT t.oid, a.attnum, a.atttypid AS type, a.atttypmod AS modifier"
    "  FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " UNION ALL SELECT m.oid, m.attnum, d.typbasetype, d.typtypmod"
    "  FROM made_of m JOIN pg_type d ON d.oid = m.type AND d.typtype = 'd')"
    " SELECT t.nspname::text, t.relname::text, a.attname::text,"
    " format_type(a.atttypid, a.atttypmod), format_type(m.type, m.modifier),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary"
    "  AND a.attnum = ANY (i.indkey)) AND NOT EXISTS (SELECT FROM pg_partitioned_table p"
    "  WHERE p.partrelid = t.oid AND a.attnum = ANY (p.partattrs)),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisunique AND i.indisvalid"
    "  AND i.indpred IS NULL AND i.indnatts = 1 AND i.indkey[0] = a.attnum"
    "  AND (a.attnotnull OR i.indisprimary)),"
    " ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = m.type"
    "  ORDER BY e.enumsortorder),"
    " (SELECT string_agg(pg_get_constraintdef(k.oid), ' ') FROM pg_constraint k"
    "  WHERE k.conrelid = t.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum])"
    " FROM t JOIN made_of m ON m.oid = t.oid"
    " JOIN pg_type b ON b.oid = m.type AND b.typtype <> 'd'"
    " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = m.attnum"
    " ORDER BY t.nspname, t.relname, a.attnum"
)
# A check such as: status = ANY (ARRAY['running'::text, 'it''s done'::text])
_ALLOWED = re.compile(r"= ANY \(+ARRAY\[(.*?)\]")
_CONSTANT = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column, and hints at its purpose."""

    name: str
    #: The type as declared, and the base type of a domain.
    type: str
    base: str
    #: Part of the primary key, but not of the partition key.
    primary: bool
    #: It identifies a row on its own.
    unique: bool
    #: The values that its type or a check allows; empty if any.
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table with its columns."""

    schema: str
    name: str
    columns: tuple[FoundColumn, ...]


async def find_tables(engine: AsyncEngine) -> list[FoundTable]:
    """The tables that have a column named like a workflow id. Raises `DatabaseUnusable`."""
    with translated("look for tables"):
        found = await fetch(engine, _COLUMNS, {"own": OWN_SCHEMA})
    tables: dict[tuple[str, str], FoundTable] = {}
    for schema, table, name, declared, base, primary, unique, labels, check in found:
        allowed = tuple(labels) or _allowed(check or "")
        column = FoundColumn(name, declared, base, primary, unique, allowed)
        known = tables.setdefault((schema, table), FoundTable(schema, table, ()))
        tables[schema, table] = replace(known, columns=(*known.columns, column))
    return list(tables.values())


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
    found = sa.text("SELECT CAST(to_regclass(format('%I.%I', :schema, :name)) AS oid)")
    with translated(f"read {table.schema}.{table.name}"):
        async with engine.connect() as connection:
            given = {"schema": table.schema, "name": table.name}
            oid = await connection.scalar(found.bindparams(**given))
            return await zones_of(connection, oid, column)


def _allowed(check: str) -> tuple[str, ...]:
    listed = _ALLOWED.search(check)
    return tuple(
        constant.replace("''", "'") for constant in _CONSTANT.findall(listed[1] if listed else "")
    )
