"""A PostgreSQL and a read replica of it that really follows: a hot standby, as after a failover."""

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
    """On a copy of what its primary has, made while that is not running."""

    def __init__(self, folder: Path, primary: RestartablePostgres) -> None:
        # With its owner and its rights, without which PostgreSQL would not take it.
        subprocess.run(["cp", "-a", primary.data, folder / "data"], check=True)
        (folder / "data" / "standby.signal").touch()
        super().__init__(folder, primary.max_connections)
        self._primary = primary

    def _settings(self) -> dict[str, object]:
        of = f"host=127.0.0.1 port={self._primary.port} user=postgres"
        return {**super()._settings(), "primary_conninfo": of, "wal_retrieve_retry_interval": 200}


@dataclass(frozen=True)
class Pair:
    """Both of them, started."""

    primary: RestartablePostgres
    replica: RestartablePostgres

    async def in_step(self) -> None:
        """Returns when the replica has all that has been written so far."""
        written = await _value(self.primary.url, "SELECT pg_current_wal_lsn()::text")

        async def is_there() -> bool:
            query = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            return bool(await _value(self.replica.url, query, written))

        await eventually(is_there)

    async def promote(self) -> None:
        """Let the replica take writes from now on."""
        await _value(self.replica.url, "SELECT pg_promote()")


@asynccontextmanager
async def primary_and_replica() -> AsyncIterator[Pair]:
    """A PostgreSQL of this test's own, and a replica that follows it."""
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
