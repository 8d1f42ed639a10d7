"""`reconciler migrate --remove`: find what `migrate` has added to a database, and drop it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.postgres.connection.engine import sqlstate, translated
from reconciler.postgres.journal.lease import held_leases
from reconciler.postgres.journal.schema_check import check_known
from reconciler.postgres.migrate.index_parts import MARK
from reconciler.postgres.migrate.index_statements import IndexPlan, index_to_drop
from reconciler.postgres.migrate.partial_index import possible_indexes
from reconciler.postgres.migrate.upgrade import migration_lock, opened, revision_of
from reconciler.postgres.schema import METADATA, OWN_SCHEMA, changes, passes
from reconciler.postgres.table.names import TableMapping
from reconciler.postgres.table.relation import look_up, quoted_name

_MARKED_COLUMNS = sa.text(
    "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0"
    " AND NOT attisdropped AND col_description(attrelid, attnum) = :mark ORDER BY attnum"
)
_OWN_TABLES = sa.text(
    "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname = ANY (:names) ORDER BY 1"
).bindparams(sa.bindparam("names", type_=postgresql.ARRAY(sa.Text)))
_VERSION = "alembic_version"
#: PostgreSQL's code for an object that others depend on.
_STILL_NEEDED = "2BP01"


@dataclass(frozen=True, slots=True)
class Removal:
    """What can be removed, and the statements that remove it."""

    table: str
    #: Statements that drop the indexes, outside of a transaction.
    indexes: tuple[str, ...]
    #: The columns that `migrate` added to an existing table, and the statements that drop them, if
    #: asked for.
    columns: tuple[str, ...]
    drop_columns: tuple[str, ...]
    #: The tables of reconciler's schema.
    own: tuple[str, ...]
    passes: int = 0
    changes: int = 0
    #: Indexes of other loops over the table, which stay.
    others: tuple[str, ...] = ()
    #: The processes that hold a lease.
    holders: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.indexes or self.drop_columns or self.own)

    @property
    def statements(self) -> list[str]:
        """All statements, in their order."""
        return [*self.drop_columns, *self.of_schema, *self.indexes]

    @property
    def of_schema(self) -> list[str]:
        """The statements that drop reconciler's schema."""
        if not self.own:
            return []
        tables = ", ".join(f"{OWN_SCHEMA}.{name}" for name in self.own)
        return [f"DROP TABLE {tables}", f"DROP SCHEMA {OWN_SCHEMA}"]

    def lines(self) -> Iterator[str]:
        """What is dropped and what is kept, for people."""
        columns = ", ".join(self.columns)
        if self.indexes:
            yield f"drops the indexes on the running rows of {self.table}"
        if self.drop_columns:
            yield f"drops from {self.table}: {columns}, WITH ALL DATA IN THEM"
        if self.own:
            yield (
                f"drops schema {OWN_SCHEMA}, with the history of {self.passes} passes and the "
                f"journal of {self.changes} changes, of every table: none can be undone any more"
            )
        if self.columns and not self.drop_columns:
            yield f"keeps in {self.table}: {columns}, which `migrate` has added"
        for other in self.others:
            yield f"keeps {other}, an index of {self.table} for other columns or running values"
        for holder in self.holders:
            yield f"in use by {holder}: stop it first"


async def find_removal(dsn: str, mapping: TableMapping, *, with_columns: bool) -> Removal:
    """Find what can be removed. Reads only. Raises `DatabaseUnusable`."""
    with translated("find what can be removed"):
        async with opened(dsn) as engine:
            return await _find(engine, mapping, with_columns=with_columns)


async def remove(dsn: str, mapping: TableMapping, *, with_columns: bool) -> list[str]:
    """Remove it; returns a line for everything that could not be dropped.

    Raises `DatabaseUnusable`, also if other objects depend on it: then nothing is dropped.
    """
    with translated("remove what `migrate` has added"):
        async with opened(dsn) as engine, migration_lock(engine):
            removal = await _find(engine, mapping, with_columns=with_columns)
            async with engine.begin() as connection:
                for statement in removal.drop_columns:
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


async def _find(engine: AsyncEngine, mapping: TableMapping, *, with_columns: bool) -> Removal:
    names = mapping.names
    async with engine.connect() as connection:
        own = await _own_tables(connection)
        quote = connection.dialect.identifier_preparer.quote
        table = quoted_name(connection.dialect, names)
        marked = await connection.scalars(_MARKED_COLUMNS, {"table": table, "mark": MARK})
        columns = tuple(marked.all())
        plans = await connection.run_sync(_plans, mapping)
        counts = [
            await connection.scalar(sa.select(sa.func.count()).select_from(each)) or 0
            if each.name in own
            else 0
            for each in (passes, changes)
        ]
    holders = await held_leases(engine) if "lease" in own else []
    drops = [f"ALTER TABLE {table} DROP COLUMN {quote(name)}" for name in columns]
    return Removal(
        names.full_name,
        tuple(statement for each in plans for statement in each.statements),
        columns,
        tuple(drops if with_columns else ()),
        own,
        passes=counts[0],
        changes=counts[1],
        others=tuple(other for each in plans for other in each.others),
        holders=tuple(dict.fromkeys(held.holder for held in holders)),
    )


def _plans(connection: sa.Connection, mapping: TableMapping) -> list[IndexPlan]:
    relation = look_up(connection, mapping.names)
    if relation is None:
        return []
    possible = possible_indexes(connection, mapping, relation)
    return [index_to_drop(connection, each) for each in possible]


async def _own_tables(connection: AsyncConnection) -> tuple[str, ...]:
    """Reconciler's tables; none in a schema without its version. Raises `DatabaseUnfit`."""
    check_known(await connection.run_sync(revision_of))
    names = [_VERSION, *(table.name for table in METADATA.tables.values())]
    there = await connection.scalars(_OWN_TABLES, {"schema": OWN_SCHEMA, "names": names})
    found = tuple(there.all())
    return found if _VERSION in found else ()
