"""`reconciler migrate`: add to the database what this version needs, or print the SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.connection.engine import close, open_engine, translated
from reconciler.postgres.journal.schema_check import check_known
from reconciler.postgres.migrate.application_table import (
    Additions,
    add_missing,
    find_missing,
    indexes_of,
)
from reconciler.postgres.migrate.rights import check_rights
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.absent import NoSchema, NoTable, TableAbsent
from reconciler.postgres.table.checks.role import RoleUnfit
from reconciler.postgres.table.checks.table import (
    Requirements,
    TableUnfit,
    check_primary,
    find_problems,
)
from reconciler.postgres.table.names import TableMapping
from reconciler.postgres.table.relation import check_names, find_relation

# The key of the advisory lock: two migrations of one database wait for each other.
_LOCK = 5_318_008_141_592_653_589
_LOCK_POLL_SECONDS = 0.2
#: For printed SQL: without it, percent signs are doubled for a driver.
PRINTED = {"paramstyle": "named"}
#: Seconds; less than poolers let their clients wait.
SECOND_CONNECTION_TIMEOUT = 15


async def migrate(
    dsn: str,
    mapping: TableMapping,
    *,
    own_schema: bool = True,
    create_table: bool = False,
    others: Sequence[TableMapping] = (),
) -> list[str]:
    """Upgrade reconciler's schema, and add to the application's table what is missing.

    Without `own_schema` only the application's table is changed. `create_table`: create the table
    even if others could be meant. `others`: those whose indexes are needed too. Safe to repeat, and
    to run from several places at once. Returns a line for each change. Raises `DatabaseUnusable`,
    or `DatabaseUnfit` if a later version has migrated the schema.
    """
    with translated("migrate the database"):
        async with opened(dsn) as engine, migration_lock(engine):
            await _check_fit(engine, mapping, create_table=create_table)
            before, missing = await _state(engine, mapping)
            config = alembic_config(dsn, mapping)
            if own_schema:
                check_known(before)
            async with engine.connect() as connection:
                await connection.run_sync(
                    partial(check_rights, upgrading=own_schema and before != _head(config)),
                    mapping.names,
                    missing,
                )
            if own_schema:
                # In a thread, because alembic/env.py runs an event loop of its own.
                await asyncio.to_thread(command.upgrade, config, "head")
            # Migration 0002 adds what the table lacks, if it ran just now. A table that the
            # settings name only later is changed here.
            after, still_missing = await _state(engine, mapping)
            if still_missing:
                async with engine.connect() as connection:
                    await connection.run_sync(_add, mapping, still_missing)
            async with engine.connect() as connection:
                needed = await connection.run_sync(indexes_of, others)
            migrated = f"schema {OWN_SCHEMA}: from {before or 'nothing'} to {after}"
            lines = missing.lines(mapping.names.full_name, needed)
            return [*([migrated] if before != after else []), *lines]


async def migration_sql(
    dsn: str,
    mapping: TableMapping,
    output: TextIO,
    *,
    own_schema: bool = True,
    create_table: bool = False,
    earlier: Sequence[TableMapping] = (),
) -> None:
    """Write the statements that `migrate` would run on this database; changes nothing.

    `earlier`: those for which the statements are written already.
    """
    with translated("read the database's schema"):
        async with opened(dsn) as engine:
            await _check_fit(engine, mapping, create_table=create_table)
            revision, missing = await _state(engine, mapping, earlier)
    if own_schema:
        check_known(revision)
    config = alembic_config(dsn, mapping)
    config.output_buffer = output
    config.attributes["missing"] = missing
    if own_schema and revision != _head(config):
        command.upgrade(config, f"{revision or 'base'}:head", sql=True)
    elif not missing:
        output.write("-- nothing to do: up to date\n")
    else:
        offline = {"as_sql": True, "output_buffer": output, "literal_binds": True}
        context = MigrationContext.configure(
            dialect_name="postgresql", dialect_opts=PRINTED, opts=offline
        )
        with context.begin_transaction():
            add_missing(Operations(context), mapping, missing)


def alembic_config(dsn: str, mapping: TableMapping) -> Config:
    """Alembic's configuration, for this checkout or for an installed wheel."""
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes |= {"dsn": dsn, "mapping": mapping}
    return config


def _head(config: Config) -> str | None:
    """The latest revision."""
    return ScriptDirectory.from_config(config).get_current_head()


def _scripts() -> Path:
    """The `alembic` folder: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "alembic"
    return inside if inside.is_dir() else package.parent / "alembic"


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[AsyncEngine]:
    """An engine without a time limit for statements."""
    engine = open_engine(dsn, statement_timeout=None, pooled=False)
    try:
        yield engine
    finally:
        await close(engine)


@asynccontextmanager
async def migration_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold the migration lock, in a transaction of its own.

    To build an index concurrently, PostgreSQL waits for every transaction with a snapshot. So
    neither the holder of the lock nor waiting processes may have one: each attempt is a separate
    transaction, and the holder closes the portal that its attempt leaves open. Raises `ReadOnly`
    on a server that does not accept writes, also if there is nothing to write.
    """
    async with engine.connect() as connection:
        await check_primary(connection)
    # The transaction is idle while the index is built, however long that takes.
    taken = sa.select(
        sa.func.pg_try_advisory_xact_lock(_LOCK),
        sa.func.set_config("idle_in_transaction_session_timeout", "0", sa.true()),
    )
    while True:
        async with engine.begin() as connection:
            if await connection.scalar(taken):
                driver: Any = (await connection.get_raw_connection()).driver_connection
                await driver.execute("SELECT 1")  # a simple query closes the unnamed portal
                await _check_second_connection(engine)
                yield
                return
        await asyncio.sleep(_LOCK_POLL_SECONDS)


async def _check_second_connection(engine: AsyncEngine) -> None:
    """With only one connection, the migration would wait for itself."""
    try:
        async with asyncio.timeout(SECOND_CONNECTION_TIMEOUT), engine.connect() as connection:
            await connection.execute(sa.select(1))
    except TimeoutError:
        raise DatabaseUnusable(
            "cannot migrate the database: it needs two connections, and got no second one within "
            f"{SECOND_CONNECTION_TIMEOUT} s",
            "raise the pooler's default_pool_size, or point DATABASE_URL at PostgreSQL itself",
        ) from None


async def _state(
    engine: AsyncEngine, mapping: TableMapping, earlier: Sequence[TableMapping] = ()
) -> tuple[str | None, Additions]:
    """The database's revision (None: never migrated), and what its table lacks."""

    def read(connection: sa.Connection) -> tuple[str | None, Additions]:
        return revision_of(connection), find_missing(connection, mapping, earlier)

    async with engine.connect() as connection:
        return await connection.run_sync(read)


def revision_of(connection: sa.Connection) -> str | None:
    """The revision of reconciler's schema; None if it does not exist."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": OWN_SCHEMA})
    return context.get_current_revision()


async def _check_fit(engine: AsyncEngine, mapping: TableMapping, *, create_table: bool) -> None:
    """Check that nothing is wrong with the table but what `migrate` adds.

    A table is only created if no other can be meant, or on request. Passes may use another role, so
    their rights are not checked. Raises `DatabaseUnfit`.
    """
    check_names(mapping)
    async with engine.connect() as connection:
        try:
            relation, table = await find_relation(connection, mapping)
        except NoTable:
            return
        except TableAbsent as error:
            if create_table and not isinstance(error, NoSchema):
                return
            raise
        required = Requirements(mapping, fitting=True)
        found = await find_problems(connection, relation, table, required)
        if of_table := [each for each in found if not isinstance(each, RoleUnfit)]:
            raise TableUnfit(of_table)


def _add(connection: sa.Connection, mapping: TableMapping, missing: Additions) -> None:
    context = MigrationContext.configure(connection)
    with context.begin_transaction(), context.begin_transaction():
        add_missing(Operations(context), mapping, missing)
