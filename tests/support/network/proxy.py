"""A network that can be disturbed: a TCP proxy on loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.servers.ports import free_port

#: For SO_LINGER: to close is to reset.
RESET = struct.pack("ii", 1, 0)


@asynccontextmanager
async def proxy(target_host: str, target_port: int) -> AsyncIterator[Proxy]:
    """Forwards everything to the target, until it is disturbed."""
    proxy = Proxy((target_host, target_port), free_port())
    proxy.heal()
    try:
        yield proxy
    finally:
        proxy.refuse()
        await asyncio.gather(*(link.task for link in proxy.links), return_exceptions=True)


@dataclass(eq=False)
class Link:
    """One client and, unless it has come to a black hole, the target."""

    client: socket.socket
    #: What has fallen into the black hole never comes out.
    lost: bool
    server: socket.socket = field(default_factory=socket.socket)
    task: asyncio.Task[None] = field(init=False)
    #: The client has said goodbye, or has been reset.
    over: bool = False

    def reset(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):  # it is closed already
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.over = True
        self.task.cancel()


@dataclass(eq=False)
class Proxy:
    """What is wrong with the network. To a client, a target that refuses is a reset."""

    target: tuple[str, int]
    port: int
    links: set[Link] = field(default_factory=set)
    _listener: socket.socket | None = None
    _swallows: bool = False
    _seconds: float = 0
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(not link.over for link in self.links)

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
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
        """Nothing gets through any more, not even a goodbye; new connections are taken."""
        self._swallows = True
        for link in self.links:
            link.lost = True

    def delay(self, seconds: float) -> None:
        """Every chunk takes that long, one after the other; what has been waiting goes now."""
        self._hurry.set()
        self._seconds, self._hurry = seconds, asyncio.Event()

    def heal(self) -> None:
        """All is well; but connections that were in a black hole are reset."""
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
        with suppress(BlockingIOError, ConnectionError):  # it has gone again
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
