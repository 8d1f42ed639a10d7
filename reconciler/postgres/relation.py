"""What stands behind the table's name: where it is, of which kind, and its columns' types."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.errors import DatabaseUnfit
from reconciler.postgres.tables import OWN_SCHEMA, TableMapping, TableNames, changes

#: What kinds of relation are called, by PostgreSQL's letters for them.
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
# Triggers: any that an UPDATE (16) of the table or of a partition fires, since a BEFORE trigger may
# write to a table whose own trigger comes later; INSERT (4) and DELETE (8) too where rows move from
# partition to partition; and those of the journal. The trigger of a foreign key is internal, and
# writes to other tables if what it refers to is written.
# Names of types are to come without quotes, also on connections that are not ours.
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
    " current_setting('server_encoding') AS encoding,"
    " set_config('quote_all_identifiers', 'off', true)"
    " FROM r JOIN pg_namespace n ON n.oid = r.relnamespace"
).bindparams(sa.bindparam("written", type_=postgresql.ARRAY(sa.Text)))


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation, by its name in the database."""

    oid: int
    schema: str
    name: str
    kind: str
    #: Whether triggers may change a row once it has been updated.
    has_triggers: bool
    #: Whether an index finds a row by its key, whatever its status.
    finds_keys: bool
    #: The encoding of the database, by PostgreSQL's name for it.
    encoding: str

    def why_no_table(self, full_name: str) -> str | None:
        """Why its rows are not its own, to be locked, written and found by a key; None if so."""
        if self.kind in ("table", "partitioned table"):
            return None
        return (
            f"{full_name} is a {self.kind}, not a table: set RECONCILER_TABLE to the table itself"
        )


# How SQLAlchemy begins a parameter, which it replaces wherever it stands in a statement.
_PARAMETER = "%("


def check_names(mapping: TableMapping) -> None:
    """Check that names mean in a statement what they say. Raises `DatabaseUnfit`."""
    names = (getattr(mapping.names, field.name) for field in fields(mapping.names))
    for name in (*names, mapping.where and mapping.where.column):
        if name and _PARAMETER in name:
            raise DatabaseUnfit(
                f"{name!r} would be taken for a parameter of the statement: rename it, and set "
                "RECONCILER_TABLE, _COLUMNS__* and _WHERE without %("
            )


def look_up(connection: sa.Connection, names: TableNames) -> Relation | None:
    """What the table's name stands for; None if for nothing."""
    quoted = quoted_name(connection.dialect, names)
    given = {"name": quoted, "written": names.written, "id": names.id}
    journal = {"own_schema": OWN_SCHEMA, "journal": changes.name}
    found = connection.execute(_FIND, given | journal).one_or_none()
    if found is None:
        return None
    kind = _KINDS.get(found.relkind, f"relation of kind {found.relkind}")
    where, finds = (found.oid, found.nspname, found.relname, kind), found.finds
    return Relation(*where, found.triggers, finds, found.encoding)


async def find_relation(
    connection: AsyncConnection, mapping: TableMapping, also: Sequence[str] = ()
) -> tuple[Relation, sa.Table]:
    """The relation, and those columns of it that are mapped. Raises `DatabaseUnfit`."""
    names = mapping.names
    check_names(mapping)
    relation = await connection.run_sync(look_up, names)
    if relation is None:
        raise DatabaseUnfit(
            f"there is no table {names.full_name} in this database: "
            "set RECONCILER_TABLE, or create it with `reconciler migrate`"
        )
    columns = (*mapping.read, *names.written, names.workflow_type, *also)

    def reflect(sync: sa.Connection) -> sa.Table:
        # Other columns may be of types that SQLAlchemy does not know, and would warn about.
        with warnings.catch_warnings(action="ignore", category=sa.exc.SAWarning):
            return sa.Table(
                names.table,
                sa.MetaData(),
                schema=names.schema,
                autoload_with=sync,
                include_columns=columns,
                resolve_fks=False,
            )

    table = await connection.run_sync(reflect)
    for column in table.c:
        column.type = _base(column.type)
    return relation, table


def _base(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type that a domain is made of: values are given and compared in that one."""
    while isinstance(kind, postgresql.DOMAIN):
        kind = kind.data_type
    return kind


def quoted_name(dialect: sa.Dialect, names: TableNames) -> str:
    """The table's name as PostgreSQL reads names, for to_regclass."""
    quote = dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in (names.schema, names.table) if part)
