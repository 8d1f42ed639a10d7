"""Delays for workflow ids whose closings keep turning out to be no ends.

Each failed attempt of a retry policy and each tick of a cron schedule is a closing, and costs a
call to find the chain open. The second time in a row, the next closing of that kind waits 30 s,
then twice as long each time. A kind is a status: when a workflow that failed before
completes, that is looked at at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from reconciler.core.model import CloseStatus

#: Before that, closings do not wait.
_IN_A_ROW = 2
_FIRST = timedelta(seconds=30)
_LONGEST = timedelta(minutes=10)
_REMEMBERED = 2 * _LONGEST


class _NoEnds(NamedTuple):
    times: int
    last_at: datetime


class Damping:
    """How often in a row closings of a workflow id and status turned out to be no ends."""

    def __init__(self) -> None:
        #: The oldest come first.
        self._open: dict[tuple[str, CloseStatus], _NoEnds] = {}

    def until(self, workflow_id: str, status: CloseStatus) -> datetime | None:
        """How long a new closing waits; None if it does not."""
        known = self._open.get((workflow_id, status))
        if known is None or known.times < _IN_A_ROW:
            return None
        doubled = 1 << min(known.times - _IN_A_ROW, 10)
        return known.last_at + min(_FIRST * doubled, _LONGEST)

    def was_open(self, workflow_id: str, status: CloseStatus, now: datetime) -> None:
        """Record that a closing was no end."""
        self._forget(now)
        known = self._open.pop((workflow_id, status), None)
        times = 1 if known is None else known.times + 1
        self._open[workflow_id, status] = _NoEnds(times, now)

    def was_not_open(self, workflow_id: str, status: CloseStatus) -> None:
        """Record that a closing was an end, or nothing that damping could spare."""
        self._open.pop((workflow_id, status), None)

    def _forget(self, now: datetime) -> None:
        while self._open:
            oldest = next(iter(self._open))
            if now - self._open[oldest].last_at <= _REMEMBERED:
                return
            del self._open[oldest]
