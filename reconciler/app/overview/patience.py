"""How long views of the page and probes wait for a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from reconciler.core.errors import Unusable

#: Seconds that a view of the page waits.
PATIENCE = 3.0

_T = TypeVar("_T")
#: Questions that were given up and have not ended yet.
_given_up: set[asyncio.Future[Any]] = set()


def no_answer(seconds: float) -> str:
    """Why there is no answer, if a server was silent for that long."""
    return f"no answer within {seconds:g} s"


async def in_time(
    ask: Callable[[], Awaitable[_T]], seconds: float | None = None
) -> tuple[_T | None, str | None]:
    """The answer, or why there is none, in one line; `seconds`: by default those of a view.

    A question whose time is up is cancelled and not waited for: that a statement is cancelled is
    one more question to a server that is silent.
    """
    limit = PATIENCE if seconds is None else seconds
    asked = asyncio.ensure_future(ask())
    try:
        await asyncio.wait({asked}, timeout=limit)
        if not asked.done():
            return None, no_answer(limit)
        return asked.result(), None
    except Unusable as error:
        return None, str(error)
    finally:
        if not asked.done():
            asked.cancel()
            _given_up.add(asked)
            asked.add_done_callback(_ended)


def _ended(asked: asyncio.Future[Any]) -> None:
    _given_up.discard(asked)
    if not asked.cancelled():
        asked.exception()  # nobody waits for it
