"""There is no table of the given name: what could be meant, and whether to create it."""

from __future__ import annotations

import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.candidates import full_name, read_tables, written_name
from reconciler.postgres.table.names import TableNames

#: Tables that a message names.
MOST_NAMED = 5


class TableAbsent(DatabaseUnfit):
    """There is no such table, and another one may be meant."""


class NoTable(TableAbsent):
    """There is no such table, and nothing in the database looks like it."""


class NoSchema(TableAbsent):
    """There is no such schema."""


# Tables whose names differ from the given one in case or schema only.
_ALIKE = sa.text(
    "SELECT n.nspname::text, c.relname::text FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE lower(c.relname) = lower(:table)"
    " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'"
    " AND n.nspname NOT IN ('information_schema', :own) ORDER BY 1, 2"
)
_HAS_SCHEMA = sa.text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :schema)")


def absent_table(connection: sa.Connection, names: TableNames) -> TableAbsent:
    """The error for a table that does not exist."""
    name = names.full_name
    problem = f"there is no table {name} in this database"
    create = f"or create {name} with `reconciler migrate --create-table`"
    alike = connection.execute(_ALIKE, {"table": names.table, "own": OWN_SCHEMA}).all()
    if alike:
        likely = [written_name(*each) for each in alike]
        return TableAbsent(
            f"{problem}, but {_some(likely)}", f"set RECONCILER_TABLE={likely[0]}, {create}"
        )
    if names.schema and not connection.scalar(_HAS_SCHEMA, {"schema": names.schema}):
        quoted = connection.dialect.identifier_preparer.quote(names.schema)
        return NoSchema(
            f"there is no schema {names.schema} in this database, and no table {name}",
            f"set RECONCILER_TABLE, or CREATE SCHEMA {quoted}",
        )
    if others := tables_with_workflow_ids(connection):
        return TableAbsent(
            f"{problem}, but {others}",
            "set RECONCILER_TABLE to the one with your workflows, or RECONCILER_CONFIG to its "
            f"reconciler.toml (`reconciler init` writes one), {create}",
        )
    return NoTable(
        problem,
        "set RECONCILER_TABLE to the one with your workflows, or RECONCILER_CONFIG to its "
        "reconciler.toml, or create a new one with `reconciler migrate`",
    )


def tables_with_workflow_ids(connection: sa.Connection, own: tuple[str, str] | None = None) -> str:
    """The tables that may contain workflows, in words; empty if there are none.

    `own`: the schema and name of a table that does not count.
    """
    found = [t for t in read_tables(connection) if (t.schema, t.name) != own]
    have = "has" if len(found) == 1 else "have"
    return f"{_some([*map(full_name, found)])} {have} a column like workflow_id" if found else ""


def _some(names: list[str]) -> str:
    return ", ".join([*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else [])])
