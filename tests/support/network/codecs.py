"""A codec that encrypts, well enough for tests, and a codec server."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import h11
from google.protobuf.json_format import MessageToJson, Parse
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

ENCODING = b"binary/sealed"


class Sealed(PayloadCodec):
    """Encrypts payloads with a key, and signs them."""

    def __init__(self, key: str = "right") -> None:
        self._key = key.encode()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._seal(payload.SerializeToString()) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            self._open(payload) if payload.metadata.get("encoding") == ENCODING else payload
            for payload in payloads
        ]

    def _seal(self, content: bytes) -> Payload:
        tag = hmac.digest(self._key, content, "sha256")
        return Payload(metadata={"encoding": ENCODING}, data=tag + self._xor(content, tag))

    def _open(self, payload: Payload) -> Payload:
        tag, content = payload.data[:32], self._xor(payload.data[32:], payload.data[:32])
        if not hmac.compare_digest(tag, hmac.digest(self._key, content, "sha256")):
            raise ValueError(f"wrong key {self._key.decode()}")
        return Payload.FromString(content)

    def _xor(self, content: bytes, tag: bytes) -> bytes:
        stream = hashlib.shake_256(self._key + tag).digest(len(content))
        return bytes(a ^ b for a, b in zip(content, stream, strict=True))


def sealing(codec: PayloadCodec | None = None) -> DataConverter:
    """A converter that encodes the attributes of failures, and encrypts all payloads."""
    return dataclasses.replace(
        DataConverter.default,
        payload_codec=codec or Sealed(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


@dataclasses.dataclass
class Request:
    target: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass
class Server:
    """A codec server for a codec, or one that always gives the same answer."""

    codec: PayloadCodec = dataclasses.field(default_factory=Sealed)
    token: str | None = None
    #: The bytes to answer with instead; if empty, it never answers.
    answer: bytes | None = None
    tls: ssl.SSLContext | None = None
    requests: list[Request] = dataclasses.field(default_factory=list)
    port: int = 0
    most_at_once: int = 0
    _now: int = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Server]:
        connections: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            connections.add(task)
            try:
                await self._serve(reader, writer)
            except (asyncio.CancelledError, ConnectionError):
                pass
            finally:
                connections.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            ending = list(connections)
            for connection in ending:
                connection.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            request = await _read(reader)
            self.requests.append(request)
            if self.answer == b"":
                await asyncio.Event().wait()
            writer.write(await self._answer(request) if self.answer is None else self.answer)
            await writer.drain()
            writer.write_eof() if writer.can_write_eof() else None
            await reader.read()
        finally:
            self._now -= 1

    async def _answer(self, request: Request) -> bytes:
        if self.token is not None and request.headers.get("authorization") != self.token:
            return http(401)
        payloads = Parse(request.body, Payloads()).payloads
        try:
            apply = self.codec.encode if request.target.endswith("/encode") else self.codec.decode
            return http(200, Payloads(payloads=await apply(payloads)))
        except ValueError:
            return http(400)


def http(status: int, payloads: Payloads | str = "", *headers: str) -> bytes:
    """An HTTP response, as bytes."""
    body = payloads if isinstance(payloads, str) else MessageToJson(payloads)
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}", *headers]
    return "\r\n".join([*lines, "", body]).encode()


async def _read(reader: asyncio.StreamReader) -> Request:
    server, body = h11.Connection(h11.SERVER), b""
    request = Request("", {}, b"")
    while True:
        match server.next_event():
            case h11.NEED_DATA:
                server.receive_data(await reader.read(65536))
            case h11.Request() as head:
                names = ((name.decode(), value.decode()) for name, value in head.headers)
                request = Request(head.target.decode(), dict(names), b"")
            case h11.Data(data=data):
                body += data
            case _:
                return dataclasses.replace(request, body=body)
