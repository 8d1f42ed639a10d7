"""A gRPC proxy that makes a Temporal require an API key."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

#: Only this process uses gRPC, which would otherwise log a warning at every fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


@dataclass
class Gateway:
    """Forwards calls with `key`. `sent` is the metadata of each call, `seen` its authorization.

    `unimplemented` is a method that this Temporal lacks.
    """

    key: str
    address: str = ""
    unimplemented: str = ""
    seen: list[str | None] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)


@asynccontextmanager
async def gateway(target: str, key: str) -> AsyncIterator[Gateway]:
    """Listen in front of the Temporal at `target`, without TLS."""
    import grpc  # noqa: PLC0415 - after the environment is set

    gate = Gateway(key)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # no types there
        def service(self, details: Any) -> Any:
            async def call(request: bytes, context: Any) -> bytes:
                gate.sent.append(dict(details.invocation_metadata))
                sent = gate.sent[-1].get("authorization")
                gate.seen.append(sent)
                if sent != f"Bearer {gate.key}":
                    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Jwt is expired")
                if gate.unimplemented and details.method.endswith(f"/{gate.unimplemented}"):
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")
                try:
                    answer: bytes = await channel.unary_unary(details.method)(request)
                except grpc.aio.AioRpcError as error:
                    trailing = tuple(tuple(pair) for pair in error.trailing_metadata())
                    await context.abort(error.code(), error.details(), trailing)
                    raise AssertionError from error
                return answer

            return grpc.unary_unary_rpc_method_handler(call)

    async with grpc.aio.insecure_channel(target) as channel:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Handler()])
        gate.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield gate
        finally:
            await server.stop(None)
