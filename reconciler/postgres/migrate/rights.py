"""Whether the role may do what `migrate` is about to do; checked before anything is done."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.migrate.application_table import Additions
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.checks.table import TableUnfit
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.relation import quoted_name

# An owner may do everything, and so may a member of the owner's role.
_RIGHTS = sa.text(
    "WITH place AS (SELECT oid, nspname FROM pg_namespace WHERE nspname ="
    "  coalesce(CAST(:schema AS text), (SELECT n.nspname FROM pg_class c JOIN pg_namespace n"
    "   ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:table)), current_schema()))"
    " SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,"
    " has_database_privilege(current_database(), 'CREATE') AS may_add_schemas,"
    " (SELECT quote_ident(nspname) FROM place) AS schema,"
    " (SELECT has_schema_privilege(oid, 'CREATE') FROM place) AS may_add_tables,"
    " (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class"
    "  WHERE oid = to_regclass(:table)) AS owner,"
    " (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class"
    "  WHERE oid = to_regclass(:table)) AS owns,"
    " (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = :own) AS owns_own"
)
_OR_SQL = "or have a DBA run what `reconciler migrate --sql` prints"


def check_rights(
    connection: sa.Connection, names: TableNames, missing: Additions, *, upgrading: bool
) -> None:
    """Check the rights for what is missing, and for `upgrading` reconciler's schema.

    Raises `DatabaseUnfit` with everything that has to be granted.
    """
    if problems := [*_problems(connection, names, missing, upgrading=upgrading)]:
        raise TableUnfit(problems)


def _problems(
    connection: sa.Connection, names: TableNames, missing: Additions, *, upgrading: bool
) -> Iterator[DatabaseUnfit]:
    table = quoted_name(connection.dialect, names)
    given = {"table": table, "schema": missing.schema, "own": OWN_SCHEMA}
    has = connection.execute(_RIGHTS, given).one()
    role = has.role
    if upgrading and has.owns_own is None and not has.may_add_schemas:
        yield DatabaseUnfit(
            f"role {role} may not create schema {OWN_SCHEMA}",
            f"GRANT CREATE ON DATABASE {has.database} TO {role}, {_OR_SQL}",
        )
    if upgrading and has.owns_own is False:
        yield DatabaseUnfit(
            f"role {role} does not own schema {OWN_SCHEMA}",
            f"run `reconciler migrate` as the role that created it, {_OR_SQL}",
        )
    if missing and has.schema is None:
        yield DatabaseUnfit(
            f"no schema in the search_path of role {role} exists",
            f"set RECONCILER_TABLE with a schema, e.g. public.{names.table}",
        )
    elif missing and not has.may_add_tables:
        yield DatabaseUnfit(
            f"role {role} may not create {'tables' if missing.table else 'an index'} in schema "
            f"{has.schema}",
            f"GRANT CREATE ON SCHEMA {has.schema} TO {role}, {_OR_SQL}",
        )
    if missing and has.owns is False:
        yield DatabaseUnfit(
            f"role {role} may not change table {names.full_name}, which belongs to {has.owner}",
            f"run `reconciler migrate` as {has.owner}, or GRANT {has.owner} TO {role}, {_OR_SQL}",
        )
