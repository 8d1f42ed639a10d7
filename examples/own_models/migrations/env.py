"""The application's Alembic environment: that of `alembic init -t async`, and one function."""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateSchema

from own_models.models import Base


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Ignore the reconciler's schema: autogenerate would drop tables that no model declares."""
    return kind != "schema" or name != "reconciler"


def migrate(connection: Connection) -> None:
    connection.execute(CreateSchema("billing", if_not_exists=True))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_schemas=True,  # some models are not in the default schema
        include_name=include_name,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


async def run() -> None:
    url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(run())
