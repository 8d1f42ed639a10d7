"""PostgreSQL with TLS.

The wheel's server is built without it, so a proxy in front of it terminates TLS, as poolers and
cloud providers do. If the machine has a PostgreSQL that is built with TLS, the same tests run on
that one, too.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from tests.support.network.certificates import Authority
from tests.support.servers.answers import postgres_answers
from tests.support.servers.in_memory import data_folder
from tests.support.servers.restartable import Restartable

#: The message with which a client requests TLS: its length, and a magic number.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
#: A role that must present a certificate with its name.
CERTIFIED = "certified"


@dataclass(frozen=True)
class TlsServer:
    """Its ports on 127.0.0.1; its certificate is only for `localhost`."""

    user: str
    port: int
    #: For the role that must present a certificate.
    certified_port: int
    #: Without TLS.
    plain_port: int

    def url(self, host: str = "localhost", **parameters: object) -> str:
        return _url(self.user, host, self.port, parameters)

    def certified_url(self, **parameters: object) -> str:
        return _url(CERTIFIED, "localhost", self.certified_port, parameters)

    def plain_url(self, **parameters: object) -> str:
        return _url(self.user, "localhost", self.plain_port, parameters)


def _url(user: str, host: str, port: int, parameters: Mapping[str, object]) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql://{user}@{host}:{port}/postgres?{query}"


def kinds() -> list[str]:
    """The kinds of servers that this machine can run."""
    return ["front", "system"] if _system_postgres() else ["front"]


@asynccontextmanager
async def tls_server(kind: str, url: str, authority: Authority) -> AsyncIterator[TlsServer]:
    """A server with a certificate of this authority, which requests one of it from clients.

    `url`: a server without TLS.
    """
    user, target = urlsplit(url).netloc.rpartition("@")[0], _address(url)
    with ExitStack() as stack:
        plain = stack.enter_context(front(target, _carry))
        if kind == "system":
            own = tempfile.TemporaryDirectory(prefix="reconciler-tls-", dir=data_folder())
            folder = stack.enter_context(own)
            system = stack.enter_context(closing(SystemPostgres(Path(folder), authority)))
            await system.start()
            async with _certified_role(system.url):
                yield TlsServer("postgres", system.port, system.port, plain)
            return
        optional, strict = (
            stack.enter_context(front(target, _tls(authority, asks)))
            for asks in (ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED)
        )
        async with _certified_role(url):
            yield TlsServer(user, optional, strict, plain)


def _address(url: str) -> str | tuple[str, int]:
    parts = urlsplit(url)
    folder = dict(parse_qsl(parts.query)).get("host")
    port = parts.port or 5432
    return f"{folder}/.s.PGSQL.{port}" if folder else (parts.hostname or "127.0.0.1", port)


@asynccontextmanager
async def _certified_role(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE ROLE {CERTIFIED} LOGIN")
    try:
        yield
    finally:
        await connection.execute(f"DROP ROLE {CERTIFIED}")
        await connection.close()


Talk: TypeAlias = Callable[[socket.socket, socket.socket], None]


@contextmanager
def front(target: str | tuple[str, int], talk: Talk) -> Iterator[int]:
    """Listen in front of a PostgreSQL; yields the port.

    Uses threads, because asyncio does not send an alert when it rejects a client's certificate.
    """

    class Front(BaseRequestHandler):
        def handle(self) -> None:
            family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
            with suppress(OSError), socket.socket(family) as server:
                server.connect(target)
                talk(self.request, server)

    with Server(("127.0.0.1", 0), Front) as listening:
        thread = Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


def _tls(authority: Authority, asks: ssl.VerifyMode) -> Talk:
    """Terminate TLS for the server."""
    certificate = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    context.load_verify_locations(authority.root)
    context.verify_mode = asks

    def talk(client: socket.socket, server: socket.socket) -> None:
        if client.recv(len(SSL_REQUEST)) != SSL_REQUEST:
            return
        client.sendall(b"S")
        with context.wrap_socket(client, True, do_handshake_on_connect=False) as wrapped:
            if _shake_hands(wrapped):
                _carry(wrapped, server)

    return talk


class Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _shake_hands(client: ssl.SSLSocket) -> bool:
    try:
        client.do_handshake()
    except ssl.SSLError:
        # Read the rest: otherwise closing would be a reset, and the alert would be lost.
        client.shutdown(socket.SHUT_WR)
        while client.recv(2**16):
            pass
        return False
    return True


def _carry(client: socket.socket, server: socket.socket) -> None:
    while True:
        waiting = isinstance(client, ssl.SSLSocket) and client.pending()
        ready = [client] if waiting else select([client, server], [], [])[0]
        for source, sink in ((client, server), (server, client)):
            if source in ready:
                chunk = source.recv(2**16)
                if not chunk:
                    return
                sink.sendall(chunk)


class SystemPostgres(Restartable):
    """The machine's own PostgreSQL, with a certificate of this authority."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        program = _system_postgres()
        assert program is not None
        self._postgres, self._data = program, folder / "data"
        # PostgreSQL refuses to run as root; its package has created a user.
        self._user = "postgres" if os.geteuid() == 0 else None
        folder.chmod(0o755)
        self._data.mkdir(mode=0o700)
        certificate = authority.issue("localhost")
        self._own(self._data)
        initdb = f"{program.with_name('initdb')} -U postgres -A trust --no-sync --no-locale -D"
        command = [*initdb.split(), str(self._data)]
        subprocess.run(command, check=True, capture_output=True, user=self._user)
        for file, name in (
            (certificate.cert, "server.crt"),
            (certificate.key, "server.key"),
            (authority.root, "root.crt"),
        ):
            shutil.copy(file, self._data / name)
            self._own(self._data / name)
        (self._data / "pg_hba.conf").write_text(
            f"hostssl all {CERTIFIED} 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 trust\n"
        )

    def _own(self, path: Path) -> None:
        if self._user:
            shutil.chown(path, self._user)

    def _program(self) -> tuple[str, Sequence[str], Mapping[str, str]]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "dynamic_shared_memory_type": "mmap",
            "ssl": "on",
            "ssl_ca_file": "root.crt",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        user = str(self._data.stat().st_uid) if self._user else ""
        return user, [str(self._postgres), "-D", str(self._data), *flags], os.environ

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    async def _answers(self) -> bool:
        return await postgres_answers(self.url)


def _system_postgres() -> Path | None:
    """The newest PostgreSQL of Debian's packages, or the one on the PATH, if it supports TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found and (on_path := shutil.which("postgres")):
        found = [Path(on_path)]
    for program in reversed(found):
        command = [str(program.with_name("pg_config")), "--configure"]
        how = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        if "--with-openssl" in how or "--with-ssl" in how:
            return program
    return None
