"""Whether Temporal answers at all, or only not about one workflow.

A call that gets no answer while others do has hit one stuck workflow, or one history shard that is
down. That concerns its row only. All calls over one connection share this knowledge.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

from reconciler.core.errors import TemporalUnusable

#: The kinds of calls that the history service answers; others say nothing about it.
ABOUT_WORKFLOWS = ("describe", "history")
#: Calls that hung without an answer, after which a pass gives the next ones less time.
WARY = 3
#: Rows in a row without an answer that end a pass. A frontend answers some calls itself
#: (namespaces, lists), even while the history service behind it is down.
MAX_UNANSWERED = 50

_NEVER = -math.inf


class Answers:
    """Which calls about workflows were answered lately, by namespace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._last: dict[str, float] = {}
        self._checks: dict[str, tuple[float, TemporalUnusable | None]] = {}
        self._checking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._hung: Counter[str] = Counter()
        self._in_a_row = 0

    def start_pass(self, *, still_wary: bool = False) -> None:
        """Start counting again: what was stuck in the last pass may have recovered.

        `still_wary`: not yet, because that pass was a moment ago.
        """
        self._in_a_row = 0
        if not still_wary:
            self._hung.clear()

    def is_wary(self, kind: str) -> bool:
        """Whether enough calls of this kind hung for the next ones to get less time.

        Otherwise a stuck shard, which may hold a quarter of all rows, would delay the other rows
        for hours. A shard that refuses at once delays nothing.
        """
        return self._hung[kind] >= WARY

    def answered(self, kind: str, namespace: str) -> None:
        """Record an answer, whatever it said."""
        if kind in ABOUT_WORKFLOWS:
            self._last[namespace] = self.clock()
            self._in_a_row = 0

    def answered_since(self, moment: float, namespace: str) -> bool:
        """Whether Temporal has answered about a workflow of this namespace after `moment`."""
        return self._last.get(namespace, _NEVER) > moment

    def unanswered(self, kind: str, *, hung: bool) -> bool:
        """Record a row without an answer; return whether that was one too many in a row."""
        self._hung[kind] += hung
        if kind in ABOUT_WORKFLOWS:
            self._in_a_row += 1
        return self._in_a_row >= MAX_UNANSWERED

    async def confirm(
        self, namespace: str, since: float, ask: Callable[[], Awaitable[object]]
    ) -> None:
        """Return if Temporal answered after `since`, or answers `ask` now.

        Concurrent callers share one call of `ask`. Raises the `TemporalUnusable` that it raises.
        """
        async with self._checking[namespace]:
            if self.answered_since(since, namespace):
                return
            asked_at, error = self._checks.get(namespace, (_NEVER, None))
            if asked_at < since:
                asked_at, error = self.clock(), None
                try:
                    await ask()
                except TemporalUnusable as unusable:
                    error = unusable
                self._checks[namespace] = asked_at, error
        if error is not None:
            raise error
