"""How long views of the page and probes wait for a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.core.errors import Unusable

#: Seconds that a view of the page waits.
PATIENCE = 3.0

_T = TypeVar("_T")


def no_answer(seconds: float) -> str:
    """Why there is no answer, if a server was silent for that long."""
    return f"no answer within {seconds:g} s"


async def in_time(
    ask: Callable[[], Awaitable[_T]], seconds: float | None = None
) -> tuple[_T | None, str | None]:
    """The answer, or why there is none, in one line; `seconds`: by default those of a view."""
    limit = PATIENCE if seconds is None else seconds
    try:
        async with asyncio.timeout(limit):
            return await ask(), None
    except TimeoutError:
        return None, no_answer(limit)
    except Unusable as error:
        return None, str(error)
