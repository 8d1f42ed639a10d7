"""TLS before a server that has none: a proxy on loopback that takes the encryption off."""

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
    """Shows this certificate, and asks for one of `clients` if there is; yields host:port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_alpn_protocols(["h2"])
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.root)
    host, _, port = target.rpartition(":")
    lines = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        lines.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await _carry(_Encrypted(context, reader, writer), host, int(port))
        writer.close()
        lines.discard(task)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for line in lines:
            line.cancel()


class _Encrypted:
    """The client's side. Not asyncio's own TLS, which closes without a word where it refuses.

    A real server sends an alert first, and that is what a client can report.
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
            await self._reader.read()  # or what it has sent already would make this a reset
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
        with suppress(ssl.SSLError):  # it has hung up without a goodbye
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
