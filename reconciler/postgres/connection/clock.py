"""The database's clock: passes judge rows by it, because it dated them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.host.steady_clock import steady
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import read_transaction

#: A difference between the host's clock and the database's that does not matter.
TOLERANCE = timedelta(seconds=2)

_CLOCK = sa.text("SELECT clock_timestamp()")

log = structlog.get_logger(__name__)


def host_time() -> datetime:
    """This host's clock. Anyone may set it, so passes do not judge rows by it."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """The database's time, and how far the host's clock was ahead of it."""

    time: datetime
    ahead: timedelta
    uncertainty: timedelta


async def read_clock(connection: AsyncConnection, host: Callable[[], datetime]) -> Reading:
    """Read both clocks, in a transaction that has begun: to begin one would count as delay."""
    began, before = steady(), host()
    time: datetime = await connection.scalar(_CLOCK)
    # The server read its clock halfway through, or at most this much earlier or later.
    half = timedelta(seconds=(steady() - began) / 2)
    return Reading(time, before + half - time, half)


class DatabaseClock:
    """Reads the database's clock, and logs once if the host's differs from it."""

    def __init__(
        self,
        engine: AsyncEngine,
        host: Callable[[], datetime] = host_time,
        elapsed: Callable[[], float] = steady,
    ) -> None:
        self._engine, self._host, self._elapsed = engine, host, elapsed
        self._last: tuple[datetime, float] | None = None
        self._logged = timedelta()
        #: How far the host's clock was ahead at the last reading; None before the first.
        self.ahead: timedelta | None = None

    async def read(self) -> datetime:
        """The time now: one short read-only transaction. Raises `DatabaseUnusable`."""
        with translated("read the database's clock"):
            async with read_transaction(self._engine) as connection:
                read = await read_clock(connection, self._host)
                self._last = read.time, self._elapsed()
        self._compare(read)
        return read.time

    def now(self) -> datetime:
        """The time since the last reading, by the steady clock; the host's before the first."""
        if self._last is None:
            return self._host()
        time, read_at = self._last
        return time + timedelta(seconds=self._elapsed() - read_at)

    def _compare(self, reading: Reading) -> None:
        self.ahead = ahead = reading.ahead
        if abs(ahead) - reading.uncertainty <= TOLERANCE:
            if self._logged:
                log.info("clock_agrees")
            self._logged = timedelta()
        # A clock that drifts is logged now and then, not in each pass.
        elif abs(ahead - self._logged) > max(TOLERANCE, abs(self._logged) / 2):
            self._logged = ahead
            log.warning(
                "clock_differs",
                hint="passes use the database's clock, not this host's",
                host_ahead_seconds=round(ahead.total_seconds(), 1),
            )
