"""Problems that keep every row of a table from being written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.text import one_line
from reconciler.postgres.connection.engine import sqlstate
from reconciler.postgres.table.checks.columns import setting_of
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.relation import Relation, quoted_name


async def unwritable(
    connection: AsyncConnection, relation: Relation, names: TableNames, present: Container[str]
) -> AsyncIterator[DatabaseUnfit]:
    """All problems that would make every write fail."""
    async for problem in _generated(connection, relation, names):
        yield problem
    async for problem in _with_rules(connection, relation, names):
        yield problem
    async for problem in _published(connection, names, present):
        yield problem


_NEVER_SET = sa.text(
    "SELECT attname::text FROM pg_attribute WHERE attrelid = :oid AND attname = ANY(:columns)"
    " AND (attgenerated <> '' OR attidentity = 'a') ORDER BY attnum"
).bindparams(sa.bindparam("columns", type_=postgresql.ARRAY(sa.Text)))


async def _generated(
    connection: AsyncConnection, relation: Relation, names: TableNames
) -> AsyncIterator[DatabaseUnfit]:
    """A problem for each generated column, which cannot be written."""
    given = {"oid": relation.oid, "columns": list(names.written)}
    for name in await connection.scalars(_NEVER_SET, given):
        setting = setting_of(names, name)
        empty = " (empty: no such column)" if name in names.filled else ""
        yield DatabaseUnfit(
            f"column {name} of {names.full_name} is GENERATED ALWAYS and cannot be written",
            f"set {setting}{empty}, or make it a plain column",
        )


# PostgreSQL's codes for a table that a publication keeps from being updated.
_BLOCKED = ("55000", "42P10")
_PUBLISHED = sa.text("SELECT EXISTS (SELECT FROM pg_publication WHERE pubupdate)")


async def _published(
    connection: AsyncConnection, names: TableNames, present: Container[str]
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if a publication keeps the table, or a partition, from being updated.

    The requirements depend on PostgreSQL's version, so it is asked to plan an update.
    """
    if names.status not in present or not await connection.scalar(_PUBLISHED):
        return
    table = quoted_name(connection.dialect, names)
    status = connection.dialect.identifier_preparer.quote(names.status)
    try:
        async with connection.begin_nested():
            sql = f"EXPLAIN UPDATE {table} SET {status} = {status}"  # noqa: S608 - quoted names
            await connection.execute(sa.text(sql.replace(":", "\\:")))
    except DBAPIError as error:
        if sqlstate(error) in _BLOCKED:
            reason = one_line(str(getattr(error.orig, "__cause__", None) or error.orig), 300)
            yield DatabaseUnfit(
                f"a publication keeps {names.full_name} from being updated: {reason}"
            )


# Rules on UPDATE.
_RULES = sa.text(
    "SELECT rulename::text FROM pg_rewrite WHERE ev_class = :oid AND ev_type = '2'"
    " AND ev_enabled IN ('O', 'A') ORDER BY 1"
)


async def _with_rules(
    connection: AsyncConnection, relation: Relation, names: TableNames
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if there are rules on UPDATE: most do not work with a CTE that updates."""
    if rules := (await connection.scalars(_RULES, {"oid": relation.oid})).all():
        table = quoted_name(connection.dialect, names)
        rule = connection.dialect.identifier_preparer.quote(rules[0])
        yield DatabaseUnfit(
            f"rules on UPDATE of {names.full_name} ({', '.join(rules)}) do not work with the "
            "guarded write",
            f"use a trigger instead, and DROP RULE {rule} ON {table}",
        )
