"""What the times of closings say: how late visibility shows them, and what Temporal's time is."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

#: How long an observed lateness counts.
_REMEMBERED = timedelta(minutes=10)
#: Fewer closings say nothing about the clock.
_ENOUGH, _MOST = 5, 50


class Lateness:
    """By how much closings were shown after later ones: the largest of the last ten minutes."""

    def __init__(self) -> None:
        #: Observations that no later one exceeds: the largest first, the latest last.
        self._observed = deque[tuple[datetime, timedelta]]()

    @property
    def largest(self) -> timedelta:
        """As of the last observation, or the last call of `forget`."""
        return self._observed[0][1] if self._observed else timedelta(0)

    def observe(self, lateness: timedelta, now: datetime) -> None:
        """Record one closing."""
        while self._observed and self._observed[-1][1] <= lateness:
            self._observed.pop()
        self._observed.append((now, lateness))
        self.forget(now)

    def forget(self, now: datetime) -> None:
        """Drop what is older than ten minutes."""
        while self._observed and now - self._observed[0][0] > _REMEMBERED:
            self._observed.popleft()


class Skew:
    """How far Temporal's clock is ahead of the local one: negative if it is behind.

    It is the median of close time minus time of first sight, and so too small by the time that a
    closing takes to be seen. That is the safe side: marks move less far.
    """

    def __init__(self) -> None:
        self._samples = deque[timedelta](maxlen=_MOST)

    @property
    def value(self) -> timedelta:
        """Zero until there are five closings to judge by."""
        if len(self._samples) < _ENOUGH:
            return timedelta(0)
        return sorted(self._samples)[(len(self._samples) - 1) // 2]

    def observe(self, closed_at: datetime, now: datetime) -> None:
        """Record a closing that is seen for the first time, by a poll soon after the last one."""
        self._samples.append(closed_at - now)
