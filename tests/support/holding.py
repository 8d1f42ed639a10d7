"""Stops a write in its middle for as long as a test likes: not by its speed, but by a lock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tests.conftest import Database
from tests.support.polling import eventually

#: For a command that is held up: it would give up waiting for a lock.
PATIENT = {"reconciler.postgres.connection.engine.LOCK_TIMEOUT": 60_000}
_WAITING = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class Hold:
    """A row that nobody gets to update."""

    database: Database

    async def reached(self) -> None:
        """Wait until somebody is held up."""
        await eventually(self._is_reached)

    async def cut_off(self) -> None:
        """End the write that is held up; for a client that is dead, and would still commit it."""
        await self.database.execute(f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) waiting")
        await eventually(self._is_left)

    async def _is_reached(self) -> bool:
        return bool(await self.database.fetch(_WAITING))

    async def _is_left(self) -> bool:
        return not await self._is_reached()


@asynccontextmanager
async def held_up(database: Database, row_id: int) -> AsyncIterator[Hold]:
    """Updates of this row wait for the end of the context."""
    await database.execute(f"""
        CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
        CREATE TRIGGER hold_up BEFORE UPDATE ON workflow_executions FOR EACH ROW
        WHEN (OLD.id = {row_id}) EXECUTE FUNCTION hold_up()
    """)
    holder = await asyncpg.connect(database.url)
    try:
        await holder.execute("SELECT pg_advisory_lock(1)")
        yield Hold(database)
    finally:
        await holder.close()
