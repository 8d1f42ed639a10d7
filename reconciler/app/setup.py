"""The wiring of what prepares a database, and of what takes that out again."""

from __future__ import annotations

from typing import TextIO

from reconciler.postgres.migrate import upgrade
from reconciler.postgres.table.names import TableMapping
from reconciler.settings.model import Settings


async def migrate(settings: Settings) -> list[str]:
    """Bring the database to what this version needs; returns what was done, a line each."""
    return await upgrade.migrate(*_arguments(settings), own_schema=settings.journal)


async def migration_sql(settings: Settings, output: TextIO) -> None:
    """Print what `migrate` would run on this database."""
    await upgrade.migration_sql(*_arguments(settings), output, own_schema=settings.journal)


def _arguments(settings: Settings) -> tuple[str, TableMapping]:
    return settings.database_url.get_secret_value(), settings.table_mapping()
