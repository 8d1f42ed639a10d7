"""A pooler in front of a PostgreSQL: PgBouncer or, if that is not installed, a stand-in.

In every mode, clients need no password and become the URL's user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import psutil

from tests.support.polling import eventually
from tests.support.servers.pooling import OwnPooler
from tests.support.servers.ports import free_port

MORTAL = Path(__file__).with_name("mortal.py")
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
#: The kinds that this machine has, for tests of the poolers themselves.
KINDS = ["pgbouncer", "own"] if PGBOUNCER else ["own"]


class Process(Protocol):
    """A pooler that can be stopped and paused."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Disconnect every client; open transactions are rolled back."""

    def pause(self) -> None:
        """Assign no more server connections to clients."""

    def resume(self) -> None: ...


# Session state that outlives a transaction, except what PgBouncer sets for each client.
_TRACES = """
    SELECT 'setting' AS kind, name, setting FROM pg_settings
    WHERE source = 'session' AND setting <> reset_val AND name NOT IN
        ('application_name', 'client_encoding', 'DateStyle', 'TimeZone')
    UNION ALL SELECT 'prepared', name, statement FROM pg_prepared_statements WHERE name <> ''
    UNION ALL SELECT 'lock', mode, objid::text FROM pg_locks
    WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT 'channel', channel, '' FROM pg_listening_channels() channel
    UNION ALL SELECT 'temporary', relname, '' FROM pg_class
    WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'
    ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class Pooler:
    """A pooler, and the URL of the database through it."""

    url: str
    process: Process
    size: int

    async def traces(self) -> dict[int, list[tuple[str, ...]]]:
        """Session state found on each server connection, by the server's process id."""
        async with AsyncExitStack() as stack:
            # All at the same time; otherwise one could be read twice.
            every = [await self.transaction(stack) for _ in range(self.size)]
            return {
                await each.fetchval("SELECT pg_backend_pid()"): [
                    tuple(record.values()) for record in await each.fetch(_TRACES)
                ]
                for each in every
            }

    async def transaction(self, stack: AsyncExitStack) -> Any:
        """A client that stays in a transaction until the stack is unwound."""
        client = await asyncpg.connect(self.url, statement_cache_size=0)
        stack.push_async_callback(client.close, timeout=2)
        await stack.enter_async_context(client.transaction())
        return client


@asynccontextmanager
async def pooler(
    url: str,
    *,
    mode: str = "transaction",
    size: int = 2,
    patience: float = 20,
    kind: str = KINDS[0],
) -> AsyncIterator[Pooler]:
    """Start a pooler with `size` server connections for the URL's user and database.

    `patience`: seconds that a client waits for one.
    """
    port = free_port()
    with _folder() as folder:
        process: PgBouncer | OwnPooler
        if kind == "own":
            process = OwnPooler(url, port, mode, size, patience)
        else:
            process = PgBouncer(url, port, mode, size, patience, folder)
        await process.start()
        try:
            database = urlsplit(url).path.lstrip("/")
            yield Pooler(f"postgresql://anybody@127.0.0.1:{port}/{database}", process, size)
        finally:
            await process.stop()


class PgBouncer:
    """PgBouncer from Debian, or the one on the PATH. It refuses to run as root."""

    def __init__(
        self, url: str, port: int, mode: str, size: int, patience: float, folder: Path
    ) -> None:
        self._port, self._folder = port, folder
        self._process: subprocess.Popen[bytes] | None = None
        parts = urlsplit(url)
        host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
        server = {
            "host": host,
            "port": parts.port or 5432,
            "user": unquote(parts.username or "postgres"),
            "password": unquote(parts.password or ""),
        }
        self._user = _owner(host) if host.startswith("/") else pwd.getpwnam("nobody").pw_uid
        self._ini = folder / "pgbouncer.ini"
        self._ini.write_text(
            f"""
            [databases]
            * = {" ".join(f"{name}='{value}'" for name, value in server.items() if value)}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = any
            pool_mode = {mode}
            default_pool_size = {size}
            query_wait_timeout = {patience}
            """
        )

    async def start(self) -> None:
        assert PGBOUNCER is not None
        with (self._folder / "log").open("ab") as log:
            user = str(self._user) if os.geteuid() == 0 else ""
            self._process = subprocess.Popen(
                [sys.executable, "-I", MORTAL, str(os.getpid()), user, PGBOUNCER, self._ini],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await eventually(self._listens)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        self._send(signal.SIGUSR1)

    def resume(self) -> None:
        self._send(signal.SIGUSR2)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with suppress(psutil.Error):
            connections = psutil.Process(self._process.pid).net_connections("tcp")
            return any(each.status == psutil.CONN_LISTEN for each in connections)
        return False


def _owner(socket_folder: str) -> int:
    return Path(socket_folder).stat().st_uid


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder that every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="reconciler-pooler-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
