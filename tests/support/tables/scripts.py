"""Runs what `reconciler migrate --sql` prints, as psql would."""

from __future__ import annotations

import asyncpg

from tests.conftest import Database


async def run_script(database: Database, script: str) -> None:
    """Run it statement by statement; fails if a transaction is left open."""
    connection = await asyncpg.connect(database.url)
    try:
        for statement in filter(str.strip, script.split(";\n")):
            await connection.execute(statement)
        assert not connection.is_in_transaction()
    finally:
        await connection.close()
