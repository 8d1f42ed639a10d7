"""Waiting in tests: for a condition with a deadline, never for a fixed time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

#: Seconds before a test gives up waiting. Only a failing test waits that long, so this is far more
#: than anything takes on an overloaded machine.
PATIENCE = 120


def deadline() -> asyncio.Timeout:
    """A timeout for what would otherwise hang, e.g. waiting for an event that is never set."""
    return asyncio.timeout(PATIENCE)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until an async condition holds. Raises `TimeoutError` after this many seconds.

    The interval grows to a twentieth of the time waited, so long waits cost little CPU.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(max(0.02, (loop.time() - began) / 20))
