"""What keeps this role from a table that fits: row-level security, and missing privileges."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.relation import Relation, quoted_name

_TEXTS = postgresql.ARRAY(sa.Text)


class RoleUnfit(DatabaseUnfit):
    """The table fits, but the role may not use it."""


# Whether policies may hide rows from this role: they apply to it, and not every row passes. It is
# certain that every row passes only if a policy's condition is just `true`.
_HIDES_ROWS = sa.text(
    "WITH policy AS (SELECT polcmd, polpermissive,"
    "  coalesce(pg_get_expr(polqual, polrelid), 'true') = 'true'"
    "  AND coalesce(pg_get_expr(polwithcheck, polrelid), 'true') = 'true' AS passes_all"
    "  FROM pg_policy WHERE polrelid = :oid AND EXISTS (SELECT FROM unnest(polroles) r(oid)"
    "   WHERE r.oid = 0 OR pg_has_role(r.oid, 'USAGE')))"
    " SELECT row_security_active(:oid) AND EXISTS (SELECT FROM unnest(:commands) c(cmd) WHERE"
    "  NOT EXISTS (SELECT FROM policy WHERE polcmd::text IN (c.cmd, '*') AND polpermissive"
    "   AND passes_all)"
    "  OR EXISTS (SELECT FROM policy WHERE polcmd::text IN (c.cmd, '*') AND NOT polpermissive"
    "   AND NOT passes_all))"
).bindparams(sa.bindparam("oid", type_=postgresql.OID), sa.bindparam("commands", type_=_TEXTS))


_IS_ACTIVE = sa.text("SELECT row_security_active(CAST(:oid AS oid))")
# Whether no policy lets this role read or update rows: an update would find none, without an error.
_UNWRITABLE = sa.text(
    "SELECT row_security_active(CAST(:oid AS oid)) AND EXISTS (SELECT FROM unnest('{r,w}'::text[])"
    " c(cmd) WHERE NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = :oid AND polpermissive"
    "  AND polcmd::text IN (c.cmd, '*') AND EXISTS (SELECT FROM unnest(polroles) r(oid)"
    "   WHERE r.oid = 0 OR pg_has_role(r.oid, 'USAGE'))))"
)
# Reconciler never inserts rows: a role that may is probably the application's.
_INSERTS = sa.text("SELECT has_any_column_privilege(CAST(:oid AS oid), 'INSERT')")


async def hidden_rows(
    connection: AsyncConnection,
    relation: Relation,
    names: TableNames,
    commands: Sequence[str],
    *,
    partial: bool,
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if row-level security may hide rows, for commands by PostgreSQL's letters.

    `partial`: hidden rows do not matter, but without run ids they are needed to distinguish rows.
    """
    oid = {"oid": relation.oid}
    if partial:
        async for each in _out_of_reach(connection, oid, names):
            yield each
        return
    if not await connection.scalar(_HIDES_ROWS, {**oid, "commands": commands}):
        return
    user, quoted = await _role(connection), quoted_name(connection.dialect, names)
    fix = (
        f"CREATE POLICY reconciler ON {quoted} TO {user} USING (true), "
        f"or ALTER ROLE {user} BYPASSRLS"
    )
    if await connection.scalar(_INSERTS, oid):
        fix = (
            f"{user} may insert rows, so it may be the application's role, which must not see all "
            "of them: connect as a role of reconciler's own, without INSERT, and with a policy "
            "USING (true) or BYPASSRLS; in a worker, pass ReconcilerPlugin the application's engine"
        )
    yield RoleUnfit(
        f"row-level security may hide rows of {names.full_name} from role {user}: they would "
        "never be reconciled",
        fix,
    )


async def _out_of_reach(
    connection: AsyncConnection, oid: Mapping[str, int], names: TableNames
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if even the caller's own row cannot be found or updated."""
    if await connection.scalar(_UNWRITABLE, oid):
        yield RoleUnfit(
            f"no policy lets role {await _role(connection)} update rows of {names.full_name}",
            "create one FOR SELECT and one FOR UPDATE that let it see and update its own",
        )
    elif names.run_id is None and await connection.scalar(_IS_ACTIVE, oid):
        yield RoleUnfit(
            f"row-level security may hide rows of {names.full_name} from role "
            f"{await _role(connection)}: only rows with a run id can be written",
            "set RECONCILER_COLUMNS__RUN_ID",
        )


async def missing_rights(
    connection: AsyncConnection,
    relation: Relation,
    names: TableNames,
    needed: Sequence[tuple[str, str]],
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if the role lacks one of these privileges, each with the column it is for."""
    if not needed:
        return
    oid = sa.literal(relation.oid, postgresql.OID)
    asked = sa.select(*(sa.func.has_column_privilege(oid, name, right) for right, name in needed))
    row = (await connection.execute(asked)).one()
    quote = connection.dialect.identifier_preparer.quote
    refused = [
        f"{right} ({quote(name)})"
        for (right, name), granted in zip(needed, row, strict=True)
        if not granted
    ]
    if refused:
        user = await _role(connection)
        rights, on = ", ".join(refused), quoted_name(connection.dialect, names)
        yield RoleUnfit(
            f"role {user} may not use table {names.full_name}",
            f"GRANT {rights} ON {on} TO {user}",
        )


async def _role(connection: AsyncConnection) -> str:
    user = await connection.scalar(sa.select(sa.func.quote_ident(sa.func.current_user())))
    return str(user)
