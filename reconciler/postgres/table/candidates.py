"""Tables that may contain workflows' rows, with facts about their columns. Reads only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from reconciler.postgres.schema import OWN_SCHEMA

#: Likely names of a column of workflow ids, in lower-case letters and digits, the likeliest first.
WORKFLOW_IDS = ("workflowid", "temporalworkflowid", "wfid", "workflow", "wf")
#: How the types of text columns begin.
TEXTS = ("text", "character", "uuid")

# The columns of tables of the given name, or else of those with a column named like a workflow id.
# For each column: its type, and the base type of a domain; whether it is part of the primary key
# but not of the partition key; whether it is unique; the values that an enum or a check allows.
_COLUMNS = sa.text(
    "WITH RECURSIVE t AS (SELECT c.oid, n.nspname, c.relname FROM pg_class c"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'"
    "  AND n.nspname NOT IN ('information_schema', :own)"
    "  AND CASE WHEN CAST(:name AS text) IS NOT NULL THEN c.relname = :name"
    "   ELSE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0"
    "    AND NOT a.attisdropped AND a.attname ~* '(workflow|^wf)') END),"
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


def read_tables(connection: sa.Connection, named: str | None = None) -> list[FoundTable]:
    """The tables of this name, or else those that have a column named like a workflow id.

    Temporal's own tables do not count.
    """
    tables: dict[tuple[str, str], FoundTable] = {}
    found = connection.execute(_COLUMNS, {"own": OWN_SCHEMA, "name": named})
    for schema, table, name, declared, base, primary, unique, labels, check in found:
        allowed = tuple(labels) or _allowed(check or "")
        column = FoundColumn(name, declared, base, primary, unique, allowed)
        known = tables.setdefault((schema, table), FoundTable(schema, table, ()))
        tables[schema, table] = replace(known, columns=(*known.columns, column))
    having = [each for each in tables.values() if named is not None or find_workflow_id(each)]
    return [table for table in having if not _is_temporal(table)]


def find_workflow_id(table: FoundTable) -> FoundColumn | None:
    """The column with the likeliest name for workflow ids."""
    return find_column(table, WORKFLOW_IDS, TEXTS, endings=WORKFLOW_IDS[:2])


def find_column(
    table: FoundTable, names: Sequence[str], types: tuple[str, ...], endings: tuple[str, ...] = ()
) -> FoundColumn | None:
    """The column with the likeliest of these names, or whose name ends with one of `endings`.

    `types`: possible starts of its type; none if any type will do.
    """
    fitting = {normalised(c.name): c for c in table.columns if c.base.startswith(types or "")}
    if found := next((fitting[name] for name in names if name in fitting), None):
        return found
    return next((c for name, c in fitting.items() if endings and name.endswith(endings)), None)


def find_key(table: FoundTable) -> FoundColumn | None:
    """The column that identifies a row; None if that is unclear."""
    primary = [column for column in table.columns if column.primary]
    if len(primary) == 1:
        return primary[0]
    unique = [column for column in table.columns if column.unique]
    # A uuid in a composite key is unique too, though the database does not check it.
    unique = unique or [column for column in primary if column.base == "uuid"]
    named = [column for column in unique if normalised(column.name) == "id"]
    return next(iter(named or unique), None)


def normalised(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def full_name(table: FoundTable) -> str:
    """The table's name as in RECONCILER_TABLE."""
    return written_name(table.schema, table.name)


def written_name(schema: str, name: str) -> str:
    """The name of a table as in RECONCILER_TABLE."""
    parts = [name] if schema == "public" else [schema, name]
    return ".".join(
        part if re.fullmatch(r'[^."\s]+', part) else '"' + part.replace('"', '""') + '"'
        for part in parts
    )


def _is_temporal(table: FoundTable) -> bool:
    """Whether it is one of Temporal's own tables, whose server may share the database."""
    columns = {column.name for column in table.columns}
    return "namespace_id" in columns and not columns.isdisjoint(("shard_id", "workflow_type_name"))


def _allowed(check: str) -> tuple[str, ...]:
    listed = _ALLOWED.search(check)
    return tuple(
        constant.replace("''", "'") for constant in _CONSTANT.findall(listed[1] if listed else "")
    )
