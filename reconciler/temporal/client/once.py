"""Answers that several rows need, asked for once: rows of one workflow id share most of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from reconciler.temporal.client.error_codes import NotFound

#: A larger answer is not kept, but asked for again: memory must not grow with what others store.
MAX_BYTES = 64 * 1024

_Answer = TypeVar("_Answer")


class Once:
    """Remembers answers, and that something was not found; any other error is asked about again.

    For rows that are asked about at the same time: an answer may be wrong a moment later.
    """

    def __init__(self) -> None:
        self._locks: defaultdict[Hashable, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._answers: dict[Hashable, Any] = {}

    async def __call__(self, what: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """The answer to `ask`, if necessary once another row has it. Raises what that raises."""
        async with self._locks[what]:
            if what in self._answers:
                answer = self._answers[what]
            else:
                try:
                    answer = await ask()
                except NotFound as error:
                    answer = error
                if not (isinstance(answer, Message) and answer.ByteSize() > MAX_BYTES):
                    self._answers[what] = answer
        if isinstance(answer, NotFound):
            raise NotFound(str(answer))
        return cast("_Answer", answer)
