"""`reconciler migrate --remove`: drop what `migrate` has added to a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.postgres.connection.engine import sqlstate, translated
from reconciler.postgres.journal.lease import held_leases
from reconciler.postgres.journal.schema_check import check_known
from reconciler.postgres.migrate.removable import OtherTarget, Removal, find
from reconciler.postgres.migrate.upgrade import migration_lock, opened, revision_of
from reconciler.postgres.schema import METADATA, OWN_SCHEMA
from reconciler.postgres.table.names import TableMapping

_OWN_TABLES = sa.text(
    "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname = ANY (:names) ORDER BY 1"
).bindparams(sa.bindparam("names", type_=postgresql.ARRAY(sa.Text)))
_VERSION = "alembic_version"
#: PostgreSQL's code for an object that others depend on.
_STILL_NEEDED = "2BP01"


async def find_removal(
    dsn: str, mapping: TableMapping, *, with_columns: bool, but: Sequence[OtherTarget] = ()
) -> Removal:
    """Find what can be removed. Reads only. Raises `DatabaseUnusable`.

    `but`: what these need stays, and the schema with it. Without them, all of the schema goes.
    """
    with translated("find what can be removed"):
        async with opened(dsn) as engine:
            return await _find(engine, mapping, but, with_columns=with_columns)


async def remove(
    dsn: str, mapping: TableMapping, *, with_columns: bool, but: Sequence[OtherTarget] = ()
) -> list[str]:
    """Remove it; returns a line for everything that could not be dropped.

    Raises `DatabaseUnusable`, also if other objects depend on it: then nothing is dropped.
    """
    with translated("remove what `migrate` has added"):
        async with opened(dsn) as engine, migration_lock(engine):
            removal = await _find(engine, mapping, but, with_columns=with_columns)
            async with engine.begin() as connection:
                for statement in (*removal.drop_columns, *removal.of_records):
                    await connection.exec_driver_sql(statement)
                left = await _drop_own(connection, removal)
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                for statement in removal.indexes:
                    await connection.exec_driver_sql(statement)
            return left


async def _drop_own(connection: AsyncConnection, removal: Removal) -> list[str]:
    if not removal.own:
        return []
    tables, schema = removal.of_schema
    await connection.exec_driver_sql(tables)
    try:
        async with connection.begin_nested():
            await connection.exec_driver_sql(schema)
    except DBAPIError as error:
        if sqlstate(error) != _STILL_NEEDED:
            raise
        return [f"schema {OWN_SCHEMA} stays, because something else is in it"]
    return []


async def _find(
    engine: AsyncEngine, mapping: TableMapping, but: Sequence[OtherTarget], *, with_columns: bool
) -> Removal:
    async with engine.connect() as connection:
        own = await _own_tables(connection)
        found = await connection.run_sync(find, mapping, but, own, with_columns=with_columns)
    held = await held_leases(engine) if "lease" in own else []
    if found.needed_by:
        held = [each for each in held if each.kind(found.scope or "") is not None]
    return replace(found, holders=tuple(dict.fromkeys(each.holder for each in held)))


async def _own_tables(connection: AsyncConnection) -> tuple[str, ...]:
    """Reconciler's tables; none in a schema without its version. Raises `DatabaseUnfit`."""
    check_known(await connection.run_sync(revision_of))
    names = [_VERSION, *(table.name for table in METADATA.tables.values())]
    there = await connection.scalars(_OWN_TABLES, {"schema": OWN_SCHEMA, "names": names})
    found = tuple(there.all())
    return found if _VERSION in found else ()
