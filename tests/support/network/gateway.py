"""A gRPC proxy that makes a Temporal require an API key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.network.relay import Call, relay


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

    async def answer(self, call: Call) -> bytes:
        self.sent.append(call.metadata)
        self.seen.append(call.metadata.get("authorization"))
        if self.seen[-1] != f"Bearer {self.key}":
            await call.refuse("UNAUTHENTICATED", "Jwt is expired")
        if self.unimplemented == call.method:
            await call.refuse("UNIMPLEMENTED", "unknown method")
        return await call.forward()


@asynccontextmanager
async def gateway(target: str, key: str) -> AsyncIterator[Gateway]:
    """Listen in front of the Temporal at `target`, without TLS."""
    gate = Gateway(key)
    async with relay(target, gate.answer) as gate.address:
        yield gate
