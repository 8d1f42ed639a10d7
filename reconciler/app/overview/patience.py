"""How long a view of the page waits for a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.core.errors import Unusable

#: Seconds.
PATIENCE = 3.0

_T = TypeVar("_T")


def no_answer() -> str:
    """Why there is no answer, if a server was silent for that long."""
    return f"no answer within {PATIENCE:.0f} s"


async def in_time(ask: Callable[[], Awaitable[_T]]) -> tuple[_T | None, str | None]:
    """The answer, or why there is none, in one line."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await ask(), None
    except TimeoutError:
        return None, no_answer()
    except Unusable as error:
        return None, str(error)
