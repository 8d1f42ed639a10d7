"""A gRPC server in front of a real Temporal; a test decides about each call."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

#: Only this process uses gRPC, which would otherwise log a warning at every fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

#: By default, a server that was down for long is retried only every two minutes.
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
_LARGE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
#: Metadata that each connection has of its own, and keys, which the server behind does not know.
_OWN = ("grpc-", ":", "te", "user-agent", "content-type", "authorization")


@dataclass(frozen=True)
class Call:
    """A call that has arrived."""

    method: str
    request: bytes
    metadata: dict[str, Any]
    _channel: Any
    _path: str
    _context: Any

    async def forward(self, request: bytes | None = None) -> bytes:
        """The server's answer, to another request if given; its errors end the call."""
        import grpc  # noqa: PLC0415 - after the environment is set

        sent = self.request if request is None else request
        passed = [pair for pair in self.metadata.items() if not pair[0].startswith(_OWN)]
        try:
            answer: bytes = await self._channel.unary_unary(self._path)(sent, metadata=passed)
        except grpc.aio.AioRpcError as error:
            trailing = tuple(tuple(pair) for pair in error.trailing_metadata() or ())
            await self._context.abort(error.code(), error.details(), trailing)
            raise AssertionError from error
        return answer

    async def refuse(self, code: str, text: str) -> NoReturn:
        """End the call with the gRPC status code of this name."""
        import grpc  # noqa: PLC0415 - after the environment is set

        await self._context.abort(getattr(grpc.StatusCode, code), text)
        raise AssertionError


@asynccontextmanager
async def relay(target: str, answer: Callable[[Call], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Listen on loopback, without TLS; yields the address."""
    import grpc  # noqa: PLC0415 - after the environment is set

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # no types there
        def service(self, details: Any) -> Any:
            async def call(request: bytes, context: Any) -> bytes:
                method = details.method.rpartition("/")[2]
                metadata = dict(details.invocation_metadata)
                return await answer(
                    Call(method, request, metadata, channel, details.method, context)
                )

            return grpc.unary_unary_rpc_method_handler(call)

    async with grpc.aio.insecure_channel(target, [*_RECONNECT, *_LARGE]) as channel:
        server = grpc.aio.server(options=_LARGE)
        server.add_generic_rpc_handlers([Handler()])
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield address
        finally:
            await server.stop(None)
