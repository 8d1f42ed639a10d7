"""The hours of a day: those that are over are read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from reconciler.app.overview.model import Hour

HOURS = 24
_HOUR = timedelta(hours=1)
#: Changes are dated by the start of their transaction, and seen at its end.
SETTLED = timedelta(minutes=2)


class Hours:
    """The rows repaired in each of the last 24 hours, the present one included."""

    def __init__(
        self, read: Callable[[datetime], Awaitable[Sequence[tuple[datetime, str, int]]]]
    ) -> None:
        """`read`: the hours since a time, each with a status and a number of rows."""
        self._read = read
        self._known: dict[datetime, dict[str, int]] = {}
        #: Hours before that are known.
        self._over: datetime | None = None

    async def up_to(self, now: datetime) -> tuple[Hour, ...]:
        """Those that end with the hour of `now`; raises what `read` does."""
        last = _hour_of(now)
        first = first_hour(now)
        # The database's clock may have been set back.
        since = first if self._over is None or self._over > last else max(first, self._over)
        found: dict[datetime, dict[str, int]] = defaultdict(dict)
        for begins_at, status, rows in await self._read(since):
            found[begins_at][status] = rows
        kept = {at: rows for at, rows in self._known.items() if first <= at < since}
        self._known = kept | found
        self._over = _hour_of(now - SETTLED)
        return tuple(
            Hour(at, self._known.get(at, {})) for at in (first + n * _HOUR for n in range(HOURS))
        )


def first_hour(now: datetime) -> datetime:
    """The beginning of the 24 hours that end with that of `now`."""
    return _hour_of(now) - (HOURS - 1) * _HOUR


def _hour_of(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)
