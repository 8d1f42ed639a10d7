"""A proxy on loopback that terminates TLS for a server without it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from tests.support.network.certificates import Authority, Certificate

_T = TypeVar("_T")


@asynccontextmanager
async def tls_proxy(
    target: str, certificate: Certificate, clients: Authority | None = None
) -> AsyncIterator[str]:
    """Present this certificate, and require one of `clients` if given; yields host:port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_alpn_protocols(["h2"])
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.root)
    host, _, port = target.rpartition(":")
    connections = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await _carry(_Encrypted(context, reader, writer), host, int(port))
        writer.close()
        connections.discard(task)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for connection in connections:
            connection.cancel()


class _Encrypted:
    """The client's side of a connection, without asyncio's own TLS.

    That sends no alert when it rejects a client. Real servers do, and clients report it.
    """

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def shake_hands(self) -> bool:
        try:
            await self._read_for(self._tls.do_handshake)
        except ssl.SSLError:
            self._writer.write_eof()
            await self._reader.read()  # otherwise unread data would make this a reset
            return False
        return True

    async def read(self) -> bytes:
        return await self._read_for(lambda: self._tls.read(2**16))

    async def write(self, chunk: bytes) -> None:
        self._tls.write(chunk)
        await self._flush()

    async def _read_for(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await self._flush()
                if chunk := await self._reader.read(2**16):
                    self._incoming.write(chunk)
                else:
                    self._incoming.write_eof()
            finally:
                await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._outgoing.read())
        await self._writer.drain()


async def _carry(client: _Encrypted, host: str, port: int) -> None:
    if not await client.shake_hands():
        return
    reader, writer = await asyncio.open_connection(host, port)

    async def there() -> None:
        with suppress(ssl.SSLError):  # it closed without a close_notify alert
            while chunk := await client.read():
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def back() -> None:
        while chunk := await reader.read(2**16):
            await client.write(chunk)

    try:
        await asyncio.gather(there(), back())
    finally:
        writer.close()
