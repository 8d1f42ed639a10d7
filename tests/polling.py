"""Waiting in tests: for a condition, with a deadline; never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until an async condition holds; a deadline, not a sleep."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
