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
from reconciler.postgres.tables import TableMapping, TableNames

#: What kinds of relation are called, by PostgreSQL's letters for them.
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
# An AFTER trigger, of the table or of a partition, on UPDATE (16): neither BEFORE (2) nor INSTEAD
# OF (64). Names of types are to come without quotes, also on connections that are not ours.
_FIND = sa.text(
    "SELECT c.oid, n.nspname, c.relname, c.relkind::text, EXISTS (SELECT FROM pg_trigger t"
    "  WHERE t.tgrelid IN (SELECT c.oid UNION ALL SELECT relid FROM pg_partition_tree(c.oid))"
    "  AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 82 = 16) AS triggers,"
    " current_setting('server_encoding') AS encoding,"
    " set_config('quote_all_identifiers', 'off', true)"
    " FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:name)"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation, by its name in the database."""

    oid: int
    schema: str
    name: str
    kind: str
    #: Whether triggers may change a row once it has been updated.
    has_after_triggers: bool
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
    found = connection.execute(_FIND, {"name": quoted}).one_or_none()
    if found is None:
        return None
    kind = _KINDS.get(found.relkind, f"relation of kind {found.relkind}")
    return Relation(found.oid, found.nspname, found.relname, kind, found.triggers, found.encoding)


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
