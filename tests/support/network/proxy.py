"""A TCP proxy on loopback that simulates network faults."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.servers.ports import free_port

#: For SO_LINGER: closing the socket resets the connection.
RESET = struct.pack("ii", 1, 0)


@asynccontextmanager
async def proxy(target_host: str, target_port: int) -> AsyncIterator[Proxy]:
    """Forward everything to the target, until a test injects a fault."""
    proxy = Proxy((target_host, target_port), free_port())
    proxy.heal()
    try:
        yield proxy
    finally:
        proxy.refuse()
        await asyncio.gather(*(link.task for link in proxy.links), return_exceptions=True)


@dataclass(eq=False)
class Link:
    """A connection from a client and, unless it began in a black hole, one to the target."""

    client: socket.socket
    #: It is or was in a black hole; nothing gets through it again.
    lost: bool
    server: socket.socket = field(default_factory=socket.socket)
    task: asyncio.Task[None] = field(init=False)
    #: The client has closed its side, or was reset.
    over: bool = False

    def reset(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):  # already closed
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.over = True
        self.task.cancel()


@dataclass(eq=False)
class Proxy:
    """Injects faults. If the target refuses a connection, the client sees a reset."""

    target: tuple[str, int]
    port: int
    links: set[Link] = field(default_factory=set)
    _listener: socket.socket | None = None
    _swallows: bool = False
    _seconds: float = 0
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return sum(not link.over for link in self.links)

    def cut(self) -> None:
        """Reset every connection; new ones still work."""
        for link in self.links:
            link.reset()

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.cut()

    def blackhole(self) -> None:
        """Drop everything, even the end of a connection; still accept new ones."""
        self._swallows = True
        for link in self.links:
            link.lost = True

    def forget(self) -> None:
        """Drop everything on the present connections, as a NAT does; new ones work."""
        self.blackhole()
        self._swallows = False

    def delay(self, seconds: float) -> None:
        """Delay every chunk by this long, one after another; forward waiting chunks now."""
        self._hurry.set()
        self._seconds, self._hurry = seconds, asyncio.Event()

    def heal(self) -> None:
        """Remove all faults; connections that were in a black hole are reset."""
        self.delay(0)
        self._swallows = False
        for link in self.links:
            if link.lost:
                link.reset()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):  # the client has already closed it
            client, _ = listener.accept()
            link = Link(client, lost=self._swallows)
            self.links.add(link)
            link.task = asyncio.create_task(self._carry(link))
            link.task.add_done_callback(lambda _: self._forget(link))

    async def _carry(self, link: Link) -> None:
        link.client.setblocking(False)
        link.server.setblocking(False)
        there = (link.client, link.server)
        back = (link.server, link.client)
        try:
            if link.lost:
                await self._pump(link, *there)
            else:
                await asyncio.get_running_loop().sock_connect(link.server, self.target)
                await asyncio.gather(self._pump(link, *there), self._pump(link, *back))
        except OSError:
            link.reset()

    def _forget(self, link: Link) -> None:
        link.client.close()
        link.server.close()
        self.links.discard(link)

    async def _pump(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while chunk := await loop.sock_recv(source, 2**16):
                await self._hold()
                if not link.lost:
                    await loop.sock_sendall(sink, chunk)
            if not link.lost:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            if not link.lost:
                link.reset()
        link.over |= source is link.client

    async def _hold(self) -> None:
        if self._seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._hurry.wait()
