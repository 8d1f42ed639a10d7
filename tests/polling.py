"""Waiting in tests: for a condition, with a deadline; never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until an async condition holds; a deadline, not a sleep.

    Asks ever more seldom: what takes long is noticed a twentieth later, and costs less.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(max(0.02, (loop.time() - began) / 20))
