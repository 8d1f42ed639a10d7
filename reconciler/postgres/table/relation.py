"""The relation that the table's name refers to: its schema, kind and columns' types."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.schema import OWN_SCHEMA, changes
from reconciler.postgres.table.absent import absent_table
from reconciler.postgres.table.names import TableMapping, TableNames

#: Kinds of relations, by PostgreSQL's letters for them.
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
# Triggers: all that an UPDATE (16) of the table or a partition fires, since a BEFORE trigger may
# write to a table whose own trigger runs later; INSERT (4) and DELETE (8) too if rows can move
# between partitions; and those of the journal. The trigger of a foreign key is internal, and writes
# to other tables if the column that it refers to is written.
# quote_all_identifiers is off so that names of types have no quotes, also on the application's
# connections.
_FIND = sa.text(
    "WITH r AS (SELECT oid, relname, relkind, relnamespace FROM pg_class"
    "  WHERE oid = to_regclass(:name)),"
    " tree AS (SELECT oid FROM r UNION SELECT p.relid FROM r, pg_partition_tree(r.oid) p),"
    " fired AS (SELECT tree.oid, CASE r.relkind WHEN 'p' THEN 28 ELSE 16 END AS events FROM r, tree"
    "  UNION ALL SELECT j.oid, 4 FROM pg_class j JOIN pg_namespace s ON s.oid = j.relnamespace"
    "  WHERE s.nspname = :own_schema AND j.relname = :journal)"
    " SELECT r.oid, n.nspname, r.relname, r.relkind::text,"
    " EXISTS (SELECT FROM pg_trigger t JOIN fired ON fired.oid = t.tgrelid"
    "  WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & fired.events <> 0)"
    " OR EXISTS (SELECT FROM pg_constraint f JOIN tree ON tree.oid = f.confrelid"
    "  JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = ANY (f.confkey)"
    "  WHERE f.confupdtype IN ('c', 'n', 'd') AND a.attname = ANY (:written)) AS triggers,"
    " EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
    "  AND a.attnum = i.indkey[0] WHERE i.indrelid = r.oid AND i.indpred IS NULL AND i.indisvalid"
    "  AND a.attname = :id) AS finds,"
    " EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
    "  AND a.attnum = i.indkey[0] WHERE i.indrelid = r.oid AND i.indisunique AND i.indisvalid"
    "  AND i.indpred IS NULL AND i.indnkeyatts = 1 AND a.attname = :id) AS identifies,"
    " current_setting('server_encoding') AS encoding,"
    " set_config('quote_all_identifiers', 'off', true)"
    " FROM r JOIN pg_namespace n ON n.oid = r.relnamespace"
).bindparams(sa.bindparam("written", type_=postgresql.ARRAY(sa.Text)))


# The type of each column as declared, and its base type if that is a domain.
_TYPES = sa.text(
    "WITH RECURSIVE made_of AS (SELECT attname, format_type(atttypid, atttypmod) AS declared,"
    "  atttypid AS type, atttypmod AS modifier, attcollation FROM pg_attribute"
    "  WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped"
    " UNION ALL SELECT attname, declared, t.typbasetype, t.typtypmod, attcollation"
    "  FROM made_of JOIN pg_type t ON t.oid = type WHERE t.typtype = 'd')"
    " SELECT attname::text, declared, format_type(type, modifier) AS base,"
    "  coalesce(c.collisdeterministic, true) AS exact FROM made_of JOIN pg_type t ON t.oid = type"
    " LEFT JOIN pg_collation c ON c.oid = attcollation WHERE t.typtype <> 'd'"
)
_LENGTH = re.compile(r"\((\d+)\)$")
#: The keys of these in a column's `info`. Exact: its collation takes no two texts for equal.
DECLARED, BASE, EXACT = "declared", "base", "exact"


# Parts of a name that would be ambiguous: they look like two parts, or like a part with the suffix
# of a lease (`lease_name`) or of a scope (`scope_of`).
_AMBIGUOUS = re.compile(r'\.|^"| where | by | \(')


def _unambiguous(part: str) -> str:
    """A part of a name, in quotes if it would be ambiguous without."""
    return '"' + part.replace('"', '""') + '"' if _AMBIGUOUS.search(part) else part


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation, by its name in the database."""

    oid: int
    schema: str
    name: str
    kind: str
    #: Whether triggers may change a row after its update.
    has_triggers: bool
    #: Whether an index finds a row of any status by its key.
    finds_keys: bool
    #: Whether a unique index has the key and no other column.
    has_unique_keys: bool
    #: The database's encoding, by PostgreSQL's name.
    encoding: str

    @property
    def identity(self) -> str:
        """Its name in records: unique, and the same however it was typed."""
        parts = (self.name,) if self.schema == "public" else (self.schema, self.name)
        return ".".join(map(_unambiguous, parts))

    def check_kind(self, full_name: str) -> None:
        """Check that it is a table, whose rows can be locked. Raises `DatabaseUnfit`."""
        if self.kind not in ("table", "partitioned table"):
            raise DatabaseUnfit(
                f"{full_name} is a {self.kind}, not a table",
                "set RECONCILER_TABLE to the table itself",
            )


# SQLAlchemy takes the first for a parameter, wherever it is in a statement. The second is how names
# of parameters begin: it writes a parameter with the name of a column into that column.
_PARAMETER, _PARAMETERS = "%(", "given_"


def check_names(mapping: TableMapping) -> None:
    """Check that SQLAlchemy takes no name for a parameter. Raises `DatabaseUnfit`."""
    given = [
        (field.name, getattr(mapping.names, field.name))
        for field in fields(mapping.names)
        if field.name != "workflow_id"
    ]
    given += [("workflow_id", name) for name in mapping.names.template.columns]
    if mapping.where:
        given += [("where", name) for name in mapping.where.columns]
    for what, name in given:
        is_column = what not in ("table", "schema")
        if name and (_PARAMETER in name or (is_column and name.startswith(_PARAMETERS))):
            raise DatabaseUnfit(
                f"{name!r} would be taken for a parameter of the statement",
                "rename it, and set RECONCILER_TABLE, _COLUMNS__* and _WHERE without %( and "
                f"{_PARAMETERS}",
            )


def look_up(connection: sa.Connection, names: TableNames) -> Relation | None:
    """The relation with the table's name; None if there is none."""
    quoted = quoted_name(connection.dialect, names)
    given = {"name": quoted, "written": names.written, "id": names.id}
    journal = {"own_schema": OWN_SCHEMA, "journal": changes.name}
    found = connection.execute(_FIND, given | journal).one_or_none()
    if found is None:
        return None
    kind = _KINDS.get(found.relkind, f"relation of kind {found.relkind}")
    where = found.oid, found.nspname, found.relname, kind
    return Relation(*where, found.triggers, found.finds, found.identifies, found.encoding)


async def find_relation(
    connection: AsyncConnection, mapping: TableMapping, also: Sequence[str] = ()
) -> tuple[Relation, sa.Table]:
    """The relation, and its mapped columns. Raises `DatabaseUnfit`."""
    names = mapping.names
    check_names(mapping)
    relation = await connection.run_sync(look_up, names)
    if relation is None:
        raise await connection.run_sync(absent_table, names)
    columns = (*mapping.read, *names.written, names.workflow_type, *also)
    return relation, await connection.run_sync(reflect, relation, names, columns)


def reflect(
    connection: sa.Connection, relation: Relation, names: TableNames, columns: Sequence[str]
) -> sa.Table:
    """Those of the columns that exist, with their types."""
    # SQLAlchemy warns about columns of unknown types.
    with warnings.catch_warnings(action="ignore", category=sa.exc.SAWarning):
        table = sa.Table(
            names.table,
            sa.MetaData(),
            schema=names.schema,
            autoload_with=connection,
            include_columns=columns,
            resolve_fks=False,
        )
    for name, declared, base, exact in connection.execute(_TYPES, {"oid": relation.oid}):
        if (column := table.c.get(name)) is not None:
            column.info |= {DECLARED: declared, BASE: base, EXACT: exact}
            column.type = _based(column.type, base)
    return table


def _based(kind: sa.types.TypeEngine[Any], base: str) -> sa.types.TypeEngine[Any]:
    """The base type of a domain: values are passed and compared in that type.

    SQLAlchemy omits the length and the time zone. A domain of an enum stays a domain: PostgreSQL
    has no operators for it.
    """
    outer = kind
    while isinstance(kind, postgresql.DOMAIN):
        kind = kind.data_type
    if kind is outer:
        return kind
    if isinstance(kind, sa.Enum):
        return outer
    if isinstance(kind, sa.String) and (length := _LENGTH.search(base)):
        return type(kind)(int(length[1]))
    if isinstance(kind, sa.DateTime):
        return type(kind)(timezone=base.endswith("with time zone"))
    return kind


def quoted_name(dialect: sa.Dialect, names: TableNames) -> str:
    """The table's name as PostgreSQL reads names, for to_regclass."""
    quote = dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in (names.schema, names.table) if part)
