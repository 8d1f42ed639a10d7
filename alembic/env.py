"""Alembic's environment: async, with its version table in schema `reconciler`.

`reconciler migrate` passes the URL and the table's mapping. If `alembic` is called directly, they
come from the settings.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from alembic import context

from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.migrate.upgrade import PRINTED
from reconciler.postgres.schema import METADATA, OWN_SCHEMA


def configure(connection: sa.Connection | None = None, **options: object) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        version_table_schema=OWN_SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == OWN_SCHEMA,
        **options,
    )


def run(connection: sa.Connection) -> None:
    """Migrate in one transaction, except for indexes that are built concurrently."""
    configure(connection)
    with context.begin_transaction():
        # The schema has to exist before Alembic's version table. Check first: IF NOT EXISTS would
        # need a privilege that the role of a later migration may lack.
        if not sa.inspect(connection).has_schema(OWN_SCHEMA):
            connection.execute(sa.schema.CreateSchema(OWN_SCHEMA))
        context.run_migrations()


async def run_online(dsn: str) -> None:
    engine = open_engine(dsn, statement_timeout=None)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


def run_offline() -> None:
    """Print the statements instead of executing them."""
    configure(dialect_name="postgresql", dialect_opts=PRINTED, literal_binds=True)
    with context.begin_transaction():
        context.execute(sa.schema.CreateSchema(OWN_SCHEMA, if_not_exists=True))
        context.run_migrations()


def fill_in(attributes: dict[str, object]) -> None:
    if "dsn" in attributes:
        return
    from reconciler.settings.load import load_settings
    from reconciler.settings.model import DatabaseSettings

    settings = load_settings(DatabaseSettings)
    attributes["dsn"] = settings.database_url.get_secret_value()
    attributes["mapping"] = settings.table_mapping()


fill_in(context.config.attributes)
if context.is_offline_mode():
    run_offline()
else:
    asyncio.run(run_online(context.config.attributes["dsn"]))
