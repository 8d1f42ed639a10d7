"""Checks of reconciler's schema before it is used: its revision, and the role's rights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.encoding import ASCII
from reconciler.postgres.connection.engine import UNTRANSLATABLE, sqlstate, translated
from reconciler.postgres.schema import OWN_SCHEMA, REVISION

_Write: TypeAlias = sa.Insert | sa.Update | sa.Delete
_VERSION = sa.table("alembic_version", sa.column("version_num"), schema=OWN_SCHEMA)

_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
#: What a pass that writes needs: it also prunes the journal and the history.
_PASS = (
    ("alembic_version", "SELECT"),
    ("changes", "INSERT"),
    ("passes", "SELECT"),
    ("passes", "INSERT"),
    ("passes", "UPDATE"),
    ("passes", "DELETE"),
    ("changes", "SELECT"),
    ("changes", "DELETE"),
    *((table, right) for table in ("stuck", "at_risk") for right in _ALL),
)
#: What is needed to read the journal and the history.
_READ = (("alembic_version", "SELECT"), ("passes", "SELECT"), ("changes", "SELECT"))
_READ_STUCK = (*_READ[:2], ("stuck", "SELECT"), ("at_risk", "SELECT"))
#: What the loop needs in addition.
_LOOP = (
    ("lease", "SELECT"),
    ("lease", "INSERT"),
    ("lease", "UPDATE"),
    *(("closings", right) for right in _ALL),
)
# From the catalogue, which every role may read.
_REFUSED = sa.text(
    "SELECT given.name, given.privilege"
    " FROM unnest(:names, :privileges) WITH ORDINALITY AS given(name, privilege, number)"
    " JOIN pg_class c ON c.relname = given.name"
    " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = :schema"
    " WHERE NOT has_table_privilege(c.oid, given.privilege) ORDER BY given.number"
).bindparams(
    sa.bindparam("names", type_=postgresql.ARRAY(sa.Text)),
    sa.bindparam("privileges", type_=postgresql.ARRAY(sa.Text)),
)
_MAY_USE_SCHEMA = sa.text(
    "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = :schema"
)


async def check_schema(engine: AsyncEngine, *, looping: bool) -> None:
    """Check that the schema exists, has this version's revision, and may be used.

    `looping`: for `reconciler run`, which needs more rights than one pass. Raises `DatabaseUnfit`.
    """
    await _check(engine, _PASS + _LOOP if looping else _PASS)


async def check_readable(engine: AsyncEngine, *, stuck: bool = False) -> None:
    """Check the same for reading the journal and the history; or passes and what is stuck.

    Raises `DatabaseUnfit`.
    """
    await _check(engine, _READ_STUCK if stuck else _READ)


async def _check(engine: AsyncEngine, needed: tuple[tuple[str, str], ...]) -> None:
    with translated(f"read schema {OWN_SCHEMA}"):
        async with engine.connect() as connection:
            await _check_rights(connection, needed)
            await _check_revision(connection)


async def _check_rights(connection: AsyncConnection, needed: tuple[tuple[str, str], ...]) -> None:
    """Check all rights at once. Missing tables are left to the check of the revision."""
    may_use = await connection.scalar(_MAY_USE_SCHEMA, {"schema": OWN_SCHEMA})
    grants = [f"USAGE ON SCHEMA {OWN_SCHEMA}"] if may_use is False else []
    names, privileges = zip(*needed, strict=True)
    given = {"names": list(names), "privileges": list(privileges), "schema": OWN_SCHEMA}
    refused = (await connection.execute(_REFUSED, given)).all()
    grants += [f"{privilege} ON {OWN_SCHEMA}.{name}" for name, privilege in refused]
    if grants:
        user = await connection.scalar(sa.select(sa.func.quote_ident(sa.func.current_user())))
        raise DatabaseUnfit(
            f"role {user} may not use schema {OWN_SCHEMA}",
            "; ".join(f"GRANT {grant} TO {user}" for grant in grants),
        )


async def _check_revision(connection: AsyncConnection) -> None:
    there = await connection.scalar(sa.select(sa.func.to_regclass(_VERSION.fullname)))
    revision = there and await connection.scalar(sa.select(_VERSION.c.version_num))
    if not revision:
        raise DatabaseUnfit(f"schema {OWN_SCHEMA} does not exist", "run `reconciler migrate`")
    if revision < REVISION:
        raise DatabaseUnfit(
            f"schema {OWN_SCHEMA} is at revision {revision}, this version needs {REVISION}",
            "run `reconciler migrate`",
        )
    check_known(revision)


def check_known(revision: str | None) -> None:
    """Raise `DatabaseUnfit` if a later version has migrated the schema."""
    if revision is not None and revision > REVISION:
        raise DatabaseUnfit(
            f"schema {OWN_SCHEMA} is at revision {revision}, this version knows none after "
            f"{REVISION}",
            "run the version that migrated it, or a newer one",
        )


async def execute_write(engine: AsyncEngine, statement: _Write, doing: str) -> int:
    """Write into reconciler's schema, whatever the encoding; returns the number of rows.

    Raises `DatabaseUnusable`: cannot do what `doing` says.
    """
    return await transact(engine, [statement], doing)


async def transact(engine: AsyncEngine, statements: Sequence[_Write], doing: str) -> int:
    """The same for several statements in one transaction; returns the last one's rows."""
    dialect = cast("PoolerSafeDialect", engine.dialect)
    with translated(doing):
        try:
            return await _execute(engine, statements)
        except DBAPIError as error:
            # Python's codec has a character that the server's lacks.
            if sqlstate(error) != UNTRANSLATABLE or dialect.codec == ASCII:
                raise
            dialect.codec = ASCII
            return await _execute(engine, statements)


async def _execute(engine: AsyncEngine, statements: Sequence[_Write]) -> int:
    rows = 0
    async with engine.begin() as connection:
        for statement in statements:
            rows = (await connection.execute(statement)).rowcount
    return rows
