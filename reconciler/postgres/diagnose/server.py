"""The database's server: its version, round trip and clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.clock import read_clock
from reconciler.postgres.connection.engine import translated

#: Measurements, of which the best counts: the others were disturbed.
TRIES = 3

_WHO = sa.text(
    "SELECT current_setting('server_version') AS version, quote_ident(current_user) AS role,"
    " quote_ident(current_database()) AS database"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A database server that answers."""

    version: str
    role: str
    database: str
    round_trip: timedelta
    #: How far this host's clock is ahead of the server's, and the uncertainty of that.
    ahead: timedelta
    uncertainty: timedelta


async def look_at_server(engine: AsyncEngine, clock: Callable[[], datetime]) -> Server:
    """Connect and measure. `clock` is this host's. Raises `DatabaseUnusable`."""
    with translated("connect to the database", engine):
        async with engine.connect() as connection:
            version, role, database = (await connection.execute(_WHO)).one()
            driver: Any = (await connection.get_raw_connection()).driver_connection
            trips = [await _round_trip(driver) for _ in range(TRIES)]
            readings = [await read_clock(connection, clock) for _ in range(TRIES)]
    best = min(readings, key=lambda reading: reading.uncertainty)
    # Without what distributions add to the version.
    return Server(
        version.partition(" ")[0], role, database, min(trips), best.ahead, best.uncertainty
    )


async def _round_trip(driver: Any) -> timedelta:
    """The time of one round trip, which a simple query takes."""
    started = time.perf_counter()
    await driver.execute("SELECT 1")
    return timedelta(seconds=time.perf_counter() - started)
