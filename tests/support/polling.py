"""Waiting in tests: for a condition, with a deadline; never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

#: Seconds until what has not happened never will. Only a test that fails waits that long, so this
#: is far more than anything takes on a machine with too much to do.
PATIENCE = 120


def deadline() -> asyncio.Timeout:
    """A limit for what would otherwise hang, e.g. an event that nobody sets."""
    return asyncio.timeout(PATIENCE)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until an async condition holds; a deadline, not a sleep.

    Polls less often as time passes: what takes long is noticed a twentieth later, and costs less.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(max(0.02, (loop.time() - began) / 20))
