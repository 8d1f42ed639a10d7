"""The application's Alembic environment: as `alembic init -t async` makes it, and one function."""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateSchema

from own_models.models import Base


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Leave the reconciler's own schema alone: autogenerate would drop what no model declares."""
    return kind != "schema" or name != "reconciler"


def migrate(connection: Connection) -> None:
    connection.execute(CreateSchema("billing", if_not_exists=True))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_schemas=True,  # there are models in another schema than the default one
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
