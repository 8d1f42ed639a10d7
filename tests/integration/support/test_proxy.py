"""The proxy with which other tests simulate network faults, in front of an echo server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.network.proxy import Proxy, proxy
from tests.support.polling import eventually
from tests.support.servers.ports import free_port


@dataclass
class Line:
    """A client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def echo(self, text: bytes) -> bytes:
        self.writer.write(text)
        return await self.reader.readexactly(len(text))

    async def is_reset(self) -> bool:
        with pytest.raises(ConnectionResetError):
            await self.reader.read(1)
        return True


@dataclass
class Network:
    """The proxy, and the connections that reach the server."""

    proxy: Proxy
    served: set[asyncio.StreamWriter] = field(default_factory=set)
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def line(self) -> Line:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self._open.callback(writer.close)
        return Line(reader, writer)

    async def nobody_is_served(self) -> bool:
        return not self.served

    async def nobody_is_connected(self) -> bool:
        return self.proxy.connections == 0


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    served = set[asyncio.StreamWriter]()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(writer)
        try:
            while chunk := await reader.read(2**16):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            served.discard(writer)
            writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        async with proxy(*server.sockets[0].getsockname()) as between:
            world = Network(between, served)
            async with world._open:
                yield world
        await eventually(world.nobody_is_served)


@asynccontextmanager
async def silence() -> AsyncIterator[None]:
    """Fail if the body of the context ends within a moment."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            yield


async def test_everything_goes_through_and_back(network: Network) -> None:
    one, two = await network.line(), await network.line()
    long = b"0123456789abcdef" * 2**16

    echoed, other = await asyncio.gather(one.echo(long), two.echo(b"two"))

    assert (echoed == long, other) == (True, b"two")
    assert network.proxy.connections == 2


async def test_the_end_of_a_connection_goes_through_and_back(network: Network) -> None:
    line = await network.line()
    line.writer.write(b"last words")
    line.writer.write_eof()

    assert await line.reader.read() == b"last words"
    assert network.proxy.connections == 0
    await eventually(network.nobody_is_served)


async def test_cut_resets_existing_connections(network: Network) -> None:
    line = await network.line()
    await line.echo(b"before")

    network.proxy.cut()

    assert network.proxy.connections == 0
    assert await line.is_reset()
    await eventually(network.nobody_is_served)
    assert await (await network.line()).echo(b"after") == b"after"


async def test_refuse_rejects_new_connections(network: Network) -> None:
    line = await network.line()
    await line.echo(b"before")

    network.proxy.refuse()

    assert await line.is_reset()
    with pytest.raises(ConnectionRefusedError):
        await network.line()
    network.proxy.heal()
    assert await (await network.line()).echo(b"after") == b"after"


async def test_a_black_hole_swallows_everything(network: Network) -> None:
    early = await network.line()
    await early.echo(b"before")

    network.proxy.blackhole()

    async with silence():
        await early.echo(b"lost")
    late = await network.line()
    async with silence():
        await late.echo(b"lost")
    assert (network.proxy.connections, len(network.served)) == (2, 1)

    network.proxy.heal()
    assert await early.is_reset()
    assert await late.is_reset()
    assert await (await network.line()).echo(b"after") == b"after"


async def test_a_black_hole_swallows_the_end_of_a_connection(network: Network) -> None:
    line = await network.line()
    await line.echo(b"before")
    network.proxy.blackhole()

    line.writer.close()
    await eventually(network.nobody_is_connected)

    assert len(network.served) == 1, "the server has noticed"
    network.proxy.heal()
    await eventually(network.nobody_is_served)


async def test_a_delay_ends_when_the_network_heals(network: Network) -> None:
    line = await network.line()
    network.proxy.delay(1000)

    line.writer.write(b"slow")
    async with silence():
        await line.reader.read(1)
    network.proxy.heal()

    assert await line.reader.readexactly(4) == b"slow"
    assert await line.echo(b"fast") == b"fast"


async def test_a_delay_lasts_in_both_directions(network: Network) -> None:
    line = await network.line()
    network.proxy.delay(0.05)
    clock = asyncio.get_running_loop()
    begun = clock.time()

    assert await line.echo(b"there and back") == b"there and back"

    assert clock.time() - begun >= 0.1


async def test_a_target_that_refuses_is_a_reset() -> None:
    async with proxy("127.0.0.1", free_port()) as between:
        nobody = Network(between)
        async with nobody._open:
            assert await (await nobody.line()).is_reset()
            assert between.connections == 0
