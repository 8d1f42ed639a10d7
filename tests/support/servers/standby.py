"""A PostgreSQL and a real read replica of it (a hot standby), for tests of failovers."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.support.polling import eventually
from tests.support.servers.restartable import RestartablePostgres, server_folder


class _Standby(RestartablePostgres):
    """Runs on a copy of its primary's data, made while the primary is stopped."""

    def __init__(self, folder: Path, primary: RestartablePostgres) -> None:
        # With owner and permissions; otherwise PostgreSQL refuses to start.
        subprocess.run(["cp", "-a", primary.data, folder / "data"], check=True)
        (folder / "data" / "standby.signal").touch()
        super().__init__(folder, primary.max_connections)
        self._primary = primary

    def _settings(self) -> dict[str, object]:
        of = f"host=127.0.0.1 port={self._primary.port} user=postgres"
        return {**super()._settings(), "primary_conninfo": of, "wal_retrieve_retry_interval": 200}


@dataclass(frozen=True)
class Pair:
    """Both servers, started."""

    primary: RestartablePostgres
    replica: RestartablePostgres

    async def in_step(self) -> None:
        """Wait until the replica has everything written so far."""
        written = await _value(self.primary.url, "SELECT pg_current_wal_lsn()::text")

        async def is_there() -> bool:
            query = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            return bool(await _value(self.replica.url, query, written))

        await eventually(is_there)

    async def promote(self) -> None:
        """Make the replica a primary."""
        await _value(self.replica.url, "SELECT pg_promote()")


@asynccontextmanager
async def primary_and_replica() -> AsyncIterator[Pair]:
    """Start a PostgreSQL and a replica of it for one test."""
    with (
        server_folder() as here,
        server_folder() as there,
        closing(RestartablePostgres(here, max_connections=100)) as primary,
        closing(_Standby(there, primary)) as replica,
    ):
        await primary.start()
        await replica.start()
        yield Pair(primary, replica)


async def _value(url: str, query: str, *arguments: object) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()
