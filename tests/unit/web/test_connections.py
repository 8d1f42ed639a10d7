"""However many connections there are, a new one is served."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from reconciler.web import connections
from reconciler.web import server as server_module
from reconciler.web.connections import (
    CONNECTIONS,
    Connection,
    Connections,
    Listener,
    connection_limit,
)
from tests.support.polling import eventually

LIMIT = 8
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Site:
    """A server with a low limit, a slow answer, and its port."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.waiting = 0
        self.port = 0
        self.open: list[asyncio.StreamWriter] = []

    def web(self) -> Starlette:
        async def livez(_: Request) -> Response:
            return PlainTextResponse("ok")

        async def slow(_: Request) -> Response:
            self.waiting += 1
            await self.let_go.wait()
            return PlainTextResponse("slow")

        async def big(_: Request) -> Response:
            return PlainTextResponse("x" * 20_000_000)

        return Starlette(routes=[Route("/livez", livez), Route("/slow", slow), Route("/big", big)])

    async def connect(self, sent: bytes = b"") -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.open.append(writer)
        writer.write(sent)
        return reader, writer

    async def get(self, path: str) -> bytes:
        reader, _ = await self.connect(request(path, close=True))
        return await reader.read()

    async def accepted(self, stream: Stream) -> None:
        """Once a request is answered, everything before it has been accepted."""
        reader, writer = stream
        writer.write(request("/livez"))
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


def request(path: str, *, close: bool = False) -> bytes:
    end = "Connection: close\r\n\r\n" if close else "\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{end}".encode()


HALF = b"GET /livez HTTP/1.1\r\nHos"


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    site = Site()
    with capture_logs() as lines:
        async with server_module.serving(site.web(), "127.0.0.1", 0):
            site.port = lines[0]["port"]
            yield site
            for writer in site.open:
                writer.close()


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(server_module, "connection_limit", lambda: LIMIT)
    async with serving() as site:
        yield site


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", HALF, request("/livez")], ids=["idle", "half", "kept alive"])
@pytest.mark.parametrize("count", [LIMIT - 1, LIMIT, LIMIT + 1, 5 * LIMIT])
async def test_a_new_connection_is_served_however_many_are_idle(
    site: Site, sent: bytes, count: int
) -> None:
    for _ in range(count):
        await site.connect(sent)

    for _ in range(3):
        assert (await site.get("/livez")).endswith(b"ok")


async def test_the_connection_that_has_been_idle_for_longest_is_closed(site: Site) -> None:
    streams = [await site.connect() for _ in range(LIMIT)]
    for stream in streams[1:]:  # so that the first is the oldest
        await site.accepted(stream)

    await site.accepted(await site.connect())

    assert await is_closed(streams[0][0])
    for stream in streams[1:]:
        await site.accepted(stream)


@pytest.mark.parametrize("sent", [HALF, request("/livez")], ids=["half", "kept alive"])
async def test_idle_connections_do_not_cut_off_an_answer(site: Site, sent: bytes) -> None:
    answer = asyncio.create_task(site.get("/slow"))

    async def waits() -> bool:
        return site.waiting == 1

    await eventually(waits)
    for _ in range(5 * LIMIT):
        await site.connect(sent)
    assert (await site.get("/livez")).endswith(b"ok")
    site.let_go.set()

    assert (await answer).endswith(b"slow")


async def test_if_all_wait_for_an_answer_the_oldest_is_closed(site: Site) -> None:
    streams = []
    for number in range(1, LIMIT + 1):
        streams.append(await site.connect(request("/slow")))

        async def waits(number: int = number) -> bool:
            return site.waiting == number

        await eventually(waits)

    assert (await site.get("/livez")).endswith(b"ok")
    assert await is_closed(streams[0][0])
    site.let_go.set()
    assert (await streams[1][0].readuntil(b"slow")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", HALF], ids=["idle", "half"])
async def test_a_connection_without_a_request_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIME", 0.05)

    reader, _ = await site.connect(sent)

    assert await is_closed(reader)


async def test_answers_and_next_requests_have_more_time_than_the_first_request(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIME", 0.05)
    loop = asyncio.get_running_loop()
    stream = await site.connect(request("/livez"))
    await stream[0].readuntil(b"ok")
    for _ in range(3):
        loop.call_later(0.2, site.let_go.set)
        stream[1].write(request("/slow"))
        await stream[0].readuntil(b"slow")
        site.let_go.clear()


async def test_a_connection_whose_answer_is_not_read_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIME", 0.05)
    monkeypatch.setattr(connections, "IDLE_TIME", 0.05)

    gone = asyncio.Event()
    monkeypatch.setattr(Connection, "connection_lost", lambda *_: gone.set())

    reader, _ = await site.connect(request("/big"))
    await gone.wait()  # the peer does not read meanwhile

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(20_000_000)


async def test_a_connection_without_an_answer_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIME", 0.05)

    reader, _ = await site.connect(request("/slow"))

    assert await is_closed(reader)


async def test_an_idle_connection_is_closed_after_a_while(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_TIME", 0.05)

    reader, _ = await site.connect(request("/livez"))
    await reader.readuntil(b"ok")

    assert await is_closed(reader)


def test_time_limits_exceed_those_of_usual_clients() -> None:
    """A scrape every 60 s finds its connection open; sending a probe takes less than 10 s."""
    assert connections.IDLE_TIME > 60
    assert connections.ANSWER_TIME > 10


@pytest.mark.parametrize(
    ("descriptors", "limit"),
    [
        (1024, 256),
        (1_000_000, CONNECTIONS),
        (resource.RLIM_INFINITY, CONNECTIONS),
        (256, 64),
        (64, 16),
        (3, 1),
    ],
)
def test_connections_take_a_share_of_the_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, limit: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))

    assert connection_limit() == limit


class Refusing:
    """A listening socket whose first calls fail for lack of descriptors."""

    def __init__(self, listening: socket.socket, number: int) -> None:
        self._listening, self._number = listening, number
        self.refusals = 0
        self.asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.refusals:
            self.refusals -= 1
            raise OSError(self._number, "no")
        return self._listening.accept()

    def fileno(self) -> int:
        return self._listening.fileno()

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


async def test_without_descriptors_it_retries_and_logs_once(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RETRY_TIME", 0.01)
    made = asyncio.Event()
    refusing = Refusing(listening, errno.EMFILE)
    refusing.refusals = 20

    def make() -> Connection:
        made.set()
        return cast("Connection", asyncio.Protocol())

    listener = Listener(cast("socket.socket", refusing), Connections(LIMIT), make)
    with capture_logs() as lines:
        listener.open()
        with socket.create_connection(listening.getsockname()):
            await made.wait()
        listener.close()

    assert [line["event"] for line in lines] == ["http_accept_failed"]
    assert refusing.asked <= 23, "not in a busy loop"


async def test_without_descriptors_idle_connections_are_closed(
    listening: socket.socket,
) -> None:
    closed = []

    class Idle:
        def __init__(self) -> None:
            self.transport = self

        def abort(self) -> None:
            closed.append(self)

    group = Connections(16)
    idle = [Idle() for _ in range(16)]
    for each in idle:
        group.mark_idle(cast("Connection", each))
    refusing = Refusing(listening, errno.ENFILE)
    refusing.refusals = 1
    listener = Listener(cast("socket.socket", refusing), group, lambda: cast("Connection", None))
    listener.open()

    async def asked() -> bool:
        return bool(refusing.asked)

    with socket.create_connection(listening.getsockname()):
        await eventually(asked)
        listener.close()

    assert closed == idle[:2]


async def test_a_peer_that_has_closed_does_not_delay_others(
    listening: socket.socket,
) -> None:
    made = asyncio.Event()
    refusing = Refusing(listening, errno.ECONNABORTED)
    refusing.refusals = 1

    def make() -> Connection:
        made.set()
        return cast("Connection", asyncio.Protocol())

    listener = Listener(cast("socket.socket", refusing), Connections(LIMIT), make)
    with capture_logs() as lines:
        listener.open()
        with socket.create_connection(listening.getsockname()):
            await made.wait()
        listener.close()

    assert lines == []
