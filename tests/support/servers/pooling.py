"""A stand-in for PgBouncer where that is not installed; it does what matters to clients.

Each transaction gets the server connection that was returned last, as in PgBouncer. Connections
are not reset in between: what one client leaves behind, the next one finds.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

TERMINATE = b"X"
#: Messages that the server eventually answers with ReadyForQuery.
ASKS = frozenset({b"Q", b"S", b"F"})
READY, IDLE = b"Z", b"I"
SSL, GSS, CANCEL = 80877103, 80877104, 80877102
#: The startup parameters that it accepts, as PgBouncer does.
PARAMETERS = frozenset(
    {
        *("user", "database", "client_encoding", "application_name"),
        *("datestyle", "timezone", "standard_conforming_strings"),
    }
)
#: The server parameters that a client needs at login.
REPORTED = ("server_version", "server_encoding", "integer_datetimes", "standard_conforming_strings")


class Rejected(Exception):
    """The client gets this message, and is disconnected."""


@dataclass(eq=False)
class Server:
    """A connection to PostgreSQL. asyncpg logs in, then its transport is taken over."""

    connection: Any
    reader: asyncio.StreamReader = field(default_factory=asyncio.StreamReader)

    @classmethod
    async def open(cls, url: str) -> Server:
        server = cls(await asyncpg.connect(url))
        server.transport.set_protocol(asyncio.StreamReaderProtocol(server.reader))
        return server

    @property
    def transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self.connection._transport
        return transport

    @property
    def parameters(self) -> bytes:
        """ParameterStatus messages for a client's login."""
        settings = self.connection.get_settings()
        values = [f"{name}\0{getattr(settings, name)}\0" for name in REPORTED]
        return b"".join(message(b"S", each.encode()) for each in values)

    def close(self) -> None:
        self.connection.terminate()
        self.transport.abort()


@dataclass(eq=False)
class Held:
    """A client, and the server connection that it has at the moment."""

    writer: asyncio.StreamWriter
    server: Server | None = None
    answering: asyncio.Future[None] = field(default_factory=asyncio.Future)
    #: The number of ReadyForQuery messages due, and whether the client is in mid-request.
    asked: int = 0
    unasked: bool = False


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def fatal(reason: str) -> bytes:
    return message(b"E", f"SFATAL\0VFATAL\0C08P01\0M{reason}\0\0".encode())


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The message's kind, and all its bytes."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


class OwnPooler:
    """Listens on loopback, in the test's event loop."""

    def __init__(self, url: str, port: int, mode: str, size: int, patience: float) -> None:
        self._url, self._port, self._mode = url, port, mode
        self._patience = patience
        self._parameters = b""
        self._free = asyncio.Semaphore(size)
        self._idle: list[Server] = []
        self._open = asyncio.Event()
        self._open.set()
        self._keys = itertools.count(2**30)
        self._links: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def stop(self) -> None:
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        while self._idle:
            self._idle.pop().close()

    def pause(self) -> None:
        self._open.clear()

    def resume(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            if await self._welcome(reader, writer):
                await self._relay(reader, writer)
        except Rejected as reason:
            writer.write(fatal(str(reason)))
            with suppress(ConnectionError):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has disconnected, or the pooler stops
        finally:
            self._links.discard(link)
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while True:
            size, code = struct.unpack("!ii", await reader.readexactly(8))
            body = await reader.readexactly(size - 8)
            if code == CANCEL:
                return False  # the server's own limits end its statements
            if code not in {SSL, GSS}:
                break
            writer.write(b"N")
        for name in body.decode().rstrip("\0").split("\0")[::2]:
            if name.lower() not in PARAMETERS:
                raise Rejected(f"unsupported startup parameter: {name}")
        if not self._parameters:
            server = await self._take()
            self._parameters = server.parameters
            self._give_back(server)
        # A made-up key, as the client has no server connection of its own.
        key = message(b"K", struct.pack("!ii", next(self._keys), 0))
        login = message(b"R", struct.pack("!i", 0))
        writer.write(login + self._parameters + key + message(READY, IDLE))
        return True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = Held(writer)
        try:
            while True:
                kind, whole = await read_message(reader)
                if kind == TERMINATE:
                    return
                if held.server is None:
                    held.server = await self._take()
                    held.answering = asyncio.create_task(self._answer(held, held.server))
                held.asked += kind in ASKS
                held.unasked = kind not in ASKS
                held.server.transport.write(whole)
        finally:
            held.answering.cancel()
            await asyncio.gather(held.answering, return_exceptions=True)
            if held.server is not None:  # within a transaction, or in session mode
                held.server.close()
                self._free.release()

    async def _answer(self, held: Held, server: Server) -> None:
        """Forward the server's answers until the transaction ends, then return the connection."""
        while True:
            kind, whole = await read_message(server.reader)
            if kind == READY and whole[5:] != IDLE and self._mode == "statement":
                held.writer.write(fatal("transaction blocks not allowed in statement pooling mode"))
                held.writer.close()
                return
            held.writer.write(whole)
            if kind != READY:
                continue
            held.asked -= 1
            over = whole[5:] == IDLE and not held.asked and not held.unasked
            if over and self._mode == "transaction":
                held.server = None
                self._give_back(server)
                return

    async def _take(self) -> Server:
        try:
            async with asyncio.timeout(self._patience):
                await self._open.wait()
                await self._free.acquire()
        except TimeoutError:
            raise Rejected("query_wait_timeout") from None
        try:
            return self._idle.pop() if self._idle else await Server.open(self._url)
        except BaseException:
            self._free.release()
            raise

    def _give_back(self, server: Server) -> None:
        self._idle.append(server)
        self._free.release()
