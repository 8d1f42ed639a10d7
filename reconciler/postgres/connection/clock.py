"""The database's clock, by which passes judge rows: it is the one that has dated them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.host.steady_clock import steady
from reconciler.postgres.connection.driver import transaction
from reconciler.postgres.connection.engine import translated

#: A host's clock that differs by no more than this is as good as the database's.
TOLERANCE = timedelta(seconds=2)

log = structlog.get_logger(__name__)


def host_time() -> datetime:
    """This host's clock. Anyone may set it, so no row is judged by it."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """The database's time, and how far ahead of it the host's clock was, give or take."""

    time: datetime
    ahead: timedelta
    uncertainty: timedelta


async def read_clock(driver: Any, host: Callable[[], datetime]) -> Reading:
    """Read both clocks. `driver` is asyncpg's connection, in a transaction."""
    began, before = steady(), host()
    time: datetime = await driver.fetchval("SELECT clock_timestamp()")
    # The server has read its clock halfway, or at most this much earlier or later.
    half = timedelta(seconds=(steady() - began) / 2)
    return Reading(time, before + half - time, half)


class DatabaseClock:
    """Reads the database's clock, and logs once that the host's differs from it."""

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
            async with transaction(self._engine, writing=False) as driver:
                reading = await read_clock(driver, self._host)
                self._last = reading.time, self._elapsed()
        self._compare(reading)
        return reading.time

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
        # A clock that drifts is worth a line now and then, not one in each pass.
        elif abs(ahead - self._logged) > max(TOLERANCE, abs(self._logged) / 2):
            self._logged = ahead
            log.warning(
                "clock_differs",
                hint="passes use the database's clock, not this host's",
                host_ahead_seconds=round(ahead.total_seconds(), 1),
            )
