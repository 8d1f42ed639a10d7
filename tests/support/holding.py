"""Blocks a write with a lock, for as long as a test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tests.conftest import Database
from tests.support.polling import eventually

#: Limits of a command that is blocked; otherwise it would time out on the lock.
PATIENT = {"reconciler.postgres.connection.engine.LOCK_TIMEOUT": 60_000}
_WAITING = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class Hold:
    """A row whose updates are blocked."""

    database: Database

    async def reached(self) -> None:
        """Wait until an update is blocked."""
        await eventually(self._is_blocked)

    async def cut_off(self) -> None:
        """End the blocked write, which could still be committed although its client is dead."""
        await self.database.execute(f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) waiting")
        await eventually(self._is_free)

    async def _is_blocked(self) -> bool:
        return bool(await self.database.fetch(_WAITING))

    async def _is_free(self) -> bool:
        return not await self._is_blocked()


@asynccontextmanager
async def held_up(database: Database, row_id: int) -> AsyncIterator[Hold]:
    """Block every update of this row until the context ends."""
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
