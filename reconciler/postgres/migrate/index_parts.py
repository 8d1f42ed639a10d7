"""A partial index on the running rows, on a table and each of its partitions, as it is.

Loops with other running values need indexes of their own. The first has the plain name, the others
one with eight digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.migrate.partial_index import PartialIndex
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
# Another loop's index for the same purpose: marked by `migrate`, or with the plain name.
_OTHERS = sa.text(
    "SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(:table) AND x.relname <> :own AND (x.relname = :plain"
    "  OR obj_description(i.indexrelid, 'pg_class') = :mark)"
    " AND coalesce(ltrim(pg_get_expr(i.indpred, i.indrelid), E'\\n ') LIKE 'CASE%', false)"
    "  = :in_case ORDER BY 1"
)
# reconciler's index on one of them: the one attached to the parent's, which PostgreSQL named if the
# partition is newer; else the one with reconciler's name. Whether its predicate is on the status.
_INDEX = sa.text(
    "SELECT i.indexrelid AS oid, x.relname AS name, i.indisvalid AS valid,"
    " CAST(m.amname AS text) AS method,"
    " coalesce(h.inhparent = :parent, false) AS attached,"
    " ARRAY(SELECT coalesce(CAST(a.attname AS text), '')"
    "  FROM unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY k(attnum, place)"
    "  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
    "  WHERE place <= i.indnkeyatts ORDER BY place) AS columns,"
    " coalesce(obj_description(i.indexrelid, 'pg_class') = :mark, false) AS added,"
    " pg_get_expr(i.indpred, i.indrelid) AS predicate,"
    " EXISTS (SELECT FROM pg_depend d JOIN pg_attribute s ON s.attrelid = d.refobjid"
    "  AND s.attnum = d.refobjsubid WHERE d.objid = i.indexrelid AND d.refobjid = i.indrelid"
    "  AND s.attname = :status) AS on_status"
    " FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam"
    " LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid"
    " WHERE i.indrelid = :oid AND (x.relname = :index OR h.inhparent = :parent)"
    " ORDER BY attached DESC LIMIT 1"
).bindparams(sa.bindparam("parent", type_=postgresql.OID))
# A constant as PostgreSQL writes it: quoted, a bare number or boolean, or null. Quoted names are
# matched first, so that nothing in them counts.
_CONSTANT = re.compile(
    r"""\"(?:[^"]|"")*"|'((?:[^']|'')*)'|(?:= |\[|, )(-?\d[\d.]*|true|false)\b| IS (NULL)\b"""
)


@dataclass(frozen=True, slots=True)
class Part:
    """The table or a partition, and the state of the index on it."""

    schema: str
    name: str
    partitioned: bool
    parent: Part | None
    #: The name for an index that is built, and that of the index there is, which may be another.
    named: str
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
        """Whether there is an index."""
        return self.oid is not None

    @property
    def broken(self) -> bool:
        """Whether building it was interrupted."""
        return self.exists and not self.valid and not self.partitioned


def find_others(connection: sa.Connection, wanted: PartialIndex, own: str) -> tuple[str, ...]:
    """The table's indexes like ours for other loops, or for earlier settings."""
    names = wanted.mapping.names
    given: dict[str, Any] = {"table": quoted_name(connection.dialect, names), "mark": MARK}
    given |= {"own": own, "plain": wanted.name(names.table), "in_case": wanted.is_in_case}
    return tuple(connection.scalars(_OTHERS, given))


def find_parts(
    connection: sa.Connection, wanted: PartialIndex, taken: Collection[str] = ()
) -> list[Part]:
    """The table and its partitions, parents first; empty for what cannot have an index.

    `taken`: names that an index of the table cannot get.
    """
    table = quoted_name(connection.dialect, wanted.mapping.names)
    by_oid: dict[int, Part] = {}
    variant = None
    for oid, parent, kind, schema, name in connection.execute(_PARTS, {"table": table}).all():
        if kind not in ("r", "p"):
            continue
        if variant is None:
            is_taken = wanted.name(name) in taken
            variant = wanted.variant if is_taken else _variant(connection, wanted, oid, name)
        above, named = by_oid.get(parent), wanted.name(name, variant)
        index = _find(connection, wanted, oid, named, above)
        by_oid[oid] = Part(
            schema,
            name,
            partitioned=kind == "p",
            parent=above,
            named=named,
            index=named if index is None else index.name,
            oid=None if index is None else index.oid,
            fits=index is not None and _fits(index, wanted),
            valid=index is not None and index.valid,
            attached=index is not None and index.attached,
            added=index is not None and index.added,
        )
    return list(by_oid.values())


def _variant(connection: sa.Connection, wanted: PartialIndex, oid: int, table: str) -> str:
    """The part of the index's name that distinguishes it; empty if it has the plain name."""
    plain = _find(connection, wanted, oid, wanted.name(table))
    if plain is not None and _fits(plain, wanted):
        return ""
    own = _find(connection, wanted, oid, wanted.name(table, wanted.variant))
    return "" if plain is None and own is None else wanted.variant


def _find(
    connection: sa.Connection,
    wanted: PartialIndex,
    oid: int,
    name: str,
    above: Part | None = None,
) -> sa.Row[Any] | None:
    """The index of this name, or the one that is attached to the parent's."""
    given = {"oid": oid, "index": name, "parent": above and above.oid}
    given |= {"status": wanted.mapping.names.status, "mark": MARK}
    return connection.execute(_INDEX, given).one_or_none()


def _fits(index: sa.Row[Any], wanted: PartialIndex) -> bool:
    predicate = index.predicate or ""
    if predicate.lstrip().startswith("CASE") != wanted.is_in_case or index.method != wanted.method:
        return False
    found = _CONSTANT.findall(predicate)
    constants = {
        None if null else quoted.replace("''", "'") or bare for quoted, bare, null in found
    } - {""}
    same_columns = tuple(index.columns) == wanted.columns and index.on_status
    return same_columns and constants == set(wanted.mapping.statuses.running)
