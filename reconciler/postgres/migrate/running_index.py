"""The partial index on the running rows: its state, and the statements to complete it.

Built concurrently, so that the application can read and write. On a partitioned table that takes
several steps: an index on the table alone, then one on each partition, concurrently, which is
attached to it. PostgreSQL adds the index to later partitions by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.table.names import TableMapping, index_name, is_running
from reconciler.postgres.table.relation import quoted_name

#: The comment on what `migrate` adds to the application's table.
MARK = "added by reconciler migrate"

# The table and, if it is partitioned, its partitions at every depth, parents first.
_PARTS = sa.text(
    "WITH RECURSIVE tree AS (SELECT CAST(to_regclass(:table) AS oid) AS oid,"
    "  CAST(NULL AS oid) AS parent, 0 AS depth"
    " UNION ALL SELECT c.oid, h.inhparent, depth + 1 FROM tree"
    "  JOIN pg_inherits h ON h.inhparent = tree.oid"
    "  JOIN pg_class c ON c.oid = h.inhrelid AND c.relispartition)"
    " SELECT c.oid, tree.parent, c.relkind::text, n.nspname AS schema, c.relname AS name FROM tree"
    " JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " ORDER BY depth, c.relname"
)
# reconciler's index on one of them: the one attached to the parent's, which PostgreSQL named if the
# partition is newer; else the one with reconciler's name. Whether its predicate is on the status.
_INDEX = sa.text(
    "SELECT i.indexrelid AS oid, x.relname AS name, i.indisvalid AS valid,"
    " coalesce(h.inhparent = :parent, false) AS attached, a.attname AS key,"
    " coalesce(obj_description(i.indexrelid, 'pg_class') = :mark, false) AS added,"
    " pg_get_expr(i.indpred, i.indrelid) AS predicate,"
    " EXISTS (SELECT FROM pg_depend d JOIN pg_attribute s ON s.attrelid = d.refobjid"
    "  AND s.attnum = d.refobjsubid WHERE d.objid = i.indexrelid AND d.refobjid = i.indrelid"
    "  AND s.attname = :status) AS on_status"
    " FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid"
    " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid"
    " WHERE i.indrelid = :oid AND (x.relname = :index OR h.inhparent = :parent)"
    " ORDER BY attached DESC LIMIT 1"
).bindparams(sa.bindparam("parent", type_=postgresql.OID))
_Quote: TypeAlias = Callable[[str], str]
# A constant as PostgreSQL writes it: quoted, a bare number or boolean, or null. Quoted names are
# matched first, so that nothing in them counts.
_CONSTANT = re.compile(
    r"""\"(?:[^"]|"")*"|'((?:[^']|'')*)'|(?:= |\[|, )(-?\d[\d.]*|true|false)\b| IS (NULL)\b"""
)


@dataclass(frozen=True, slots=True)
class _Part:
    """The table or a partition, and the state of the index on it."""

    schema: str
    name: str
    partitioned: bool
    parent: _Part | None
    #: The name of its index, also of one to be built.
    index: str
    #: The index's number in PostgreSQL, if it exists; and whether its key and values are right.
    oid: int | None
    fits: bool
    #: A parent's index becomes valid once those of all its partitions are attached. Any other is
    #: invalid if its concurrent build failed: then it costs writes, and no query uses it.
    valid: bool
    attached: bool
    #: Whether `migrate` added it, not the application.
    added: bool

    @property
    def exists(self) -> bool:
        return self.oid is not None

    @property
    def broken(self) -> bool:
        return self.exists and not self.valid and not self.partitioned


def statements_to_build(connection: sa.Connection, mapping: TableMapping) -> list[str]:
    """The statements that build the index on an existing table; none if it is complete."""
    parts, dialect = _parts(connection, mapping), connection.dialect
    quote = _quote(dialect)
    if not parts or (parts[0].fits and parts[0].valid):
        return []
    statements = []
    if any(part.exists and not part.fits for part in parts):
        # Dropping a parent's index drops the attached ones: all are rebuilt.
        statements = [_drop(part, quote) for part in parts]
        parts = [
            replace(part, index=index_name(part.name), oid=None, attached=False) for part in parts
        ]
    for part in parts:
        if part.broken:
            statements.append(_drop(part, quote))
        if part.broken or not part.exists:
            table, how = _qualified(quote, part.schema, part.name), "CONCURRENTLY "
            if part.partitioned:
                table, how = f"ONLY {table}", ""
            statements.append(_create(how, part.index, table, mapping, dialect))
    names = {(part.schema, part.name): part.index for part in parts}
    for part in parts:
        if part.parent is not None and not part.attached:
            of, to = (
                _qualified(quote, each.schema, names[each.schema, each.name])
                for each in (part, part.parent)
            )
            statements.append(f"ALTER INDEX {to} ATTACH PARTITION {of}")
    # There may be nothing to do even so: a foreign partition has no index.
    return [*statements, _mark(quote, parts[0].schema, parts[0].index)] if statements else []


def statements_for_new_table(
    dialect: sa.Dialect, mapping: TableMapping, schema: str | None
) -> list[str]:
    """The statements that build the index on the table that `migrate` creates."""
    quote, names = _quote(dialect), mapping.names
    table = _qualified(quote, schema, names.table)
    build = _create("CONCURRENTLY ", names.index, table, mapping, dialect)
    return [build, _mark(quote, schema, names.index)]


def statements_to_drop(connection: sa.Connection, mapping: TableMapping) -> list[str]:
    """The statements that drop the index, unless it is the application's own."""
    parts, quote = _parts(connection, mapping), _quote(connection.dialect)
    # An invalid one is reconciler's as well: the mark is set last.
    added = bool(parts) and (parts[0].added or not parts[0].valid)
    return [_drop(part, quote) for part in parts if part.exists] if added else []


def _create(how: str, index: str, table: str, mapping: TableMapping, dialect: sa.Dialect) -> str:
    names, quote = mapping.names, _quote(dialect)
    running = is_running(sa.column(names.status), mapping.statuses.running)
    predicate = running.compile(dialect=dialect)
    return f"CREATE INDEX {how}{quote(index)} ON {table} ({quote(names.id)}) WHERE {predicate}"


def _mark(quote: _Quote, schema: str | None, index: str) -> str:
    return f"COMMENT ON INDEX {_qualified(quote, schema, index)} IS '{MARK}'"


def _drop(part: _Part, quote: _Quote) -> str:
    # A parent's index is dropped with those of its partitions, which cannot be done concurrently.
    how = "" if part.partitioned else "CONCURRENTLY "
    index = _qualified(quote, part.schema, part.index)
    return f"DROP INDEX {how}IF EXISTS {index}"


def _qualified(quote: _Quote, schema: str | None, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def _quote(dialect: sa.Dialect) -> _Quote:
    return dialect.identifier_preparer.quote


def _parts(connection: sa.Connection, mapping: TableMapping) -> list[_Part]:
    """The table and its partitions, parents first; empty for what cannot have an index."""
    table = quoted_name(connection.dialect, mapping.names)
    by_oid: dict[int, _Part] = {}
    for oid, parent, kind, schema, name in connection.execute(_PARTS, {"table": table}).all():
        if kind not in ("r", "p"):
            continue
        above = by_oid.get(parent)
        index = connection.execute(
            _INDEX,
            {
                "oid": oid,
                "index": index_name(name),
                "parent": above and above.oid,
                "status": mapping.names.status,
                "mark": MARK,
            },
        ).one_or_none()
        by_oid[oid] = _Part(
            schema,
            name,
            partitioned=kind == "p",
            parent=above,
            index=index_name(name) if index is None else index.name,
            oid=None if index is None else index.oid,
            fits=index is not None and _fits(index, mapping),
            valid=index is not None and index.valid,
            attached=index is not None and index.attached,
            added=index is not None and index.added,
        )
    return list(by_oid.values())


def _fits(index: sa.Row[Any], mapping: TableMapping) -> bool:
    found = _CONSTANT.findall(index.predicate or "")
    constants = {
        None if null else quoted.replace("''", "'") or bare for quoted, bare, null in found
    } - {""}
    same_columns = index.key == mapping.names.id and index.on_status
    return same_columns and constants == set(mapping.statuses.running)
