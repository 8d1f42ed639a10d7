"""An HTTP proxy that tunnels connections with CONNECT, as companies use them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class HttpProxy:
    """Listens on loopback; `asked` has the requests so far."""

    address: str
    #: Its answer to clients that it lets through.
    answer: str = "200 OK"
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def http_proxy(login: str | None = None) -> AsyncIterator[HttpProxy]:
    """Let every client through, or only those with this user:password."""
    wanted = login and f"proxy-authorization: Basic {b64encode(login.encode()).decode()}"
    connections = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(OSError, asyncio.CancelledError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            proxy.asked.append(request)
            host, _, port = request.split()[1].rpartition(":")
            answer = proxy.answer
            if wanted and wanted not in request:
                answer = "407 Proxy Authentication Required"
            writer.write(f"HTTP/1.1 {answer}\r\n\r\n".encode())
            if answer == "200 OK":
                there, back = await asyncio.open_connection(host, int(port))
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
        writer.close()
        connections.discard(task)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        proxy = HttpProxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield proxy
        for connection in connections:
            connection.cancel()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(2**16):
            sink.write(chunk)
            await sink.drain()
    finally:
        sink.close()
