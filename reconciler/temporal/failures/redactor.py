"""Redaction in its own thread, within a time limit.

An operator's expression may take minutes on an unlucky text. The event loop, and with it the lease
and the probes, keeps running. A text that cannot be searched in time is replaced as a whole: its
row is still written, and nothing unsearched is.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from reconciler.core.observer import Observer, PassView
from reconciler.core.redaction import UNSEARCHED, Redaction
from reconciler.core.text import one_line

#: Seconds for one text, including the wait for others. More than the limit of a single expression
#: adds up to over all texts that a pass handles at the same time.
PATIENCE = 10.0

log = structlog.get_logger(__name__)


class Redactor(Observer):
    """Redacts texts of which `limit` characters are kept; logs once per pass how many failed."""

    def __init__(self, redaction: Redaction, limit: int, patience: float = PATIENCE) -> None:
        """`patience`: seconds for one text, including the wait for others."""
        self._redaction, self._limit, self._patience = redaction, limit, patience
        # One at a time: the time limit of `regex` counts the CPU of the whole process.
        self._thread = ThreadPoolExecutor(1, "redaction")
        self._unsearched = 0

    async def hide(self, text: str) -> str:
        """`text` without what matches, not cut yet."""
        if not self._redaction.patterns:
            return text
        hiding = partial(self._redaction.hide, text, self._limit)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.get_running_loop().run_in_executor(self._thread, hiding)
        except TimeoutError:
            self._unsearched += 1
            return UNSEARCHED

    async def line(self, text: str) -> str:
        """`text` as one line of at most `limit` characters, without what matches."""
        return one_line(await self.hide(text), self._limit)

    async def on_pass(self, report: PassView) -> None:  # noqa: ARG002
        """Log how many texts were replaced, if any."""
        if self._unsearched:
            log.warning(
                "failures_replaced",
                hint="RECONCILER_REDACT took too long to search them",
                failures=self._unsearched,
            )
        self._unsearched = 0
