"""`--wait`: for a network that comes up after the process, and a database that sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from reconciler.core.errors import DatabaseUnfit, TemporalUnfit, Unusable
from reconciler.host.steady_clock import steady
from reconciler.postgres.connection.engine import Dsn, translated, using_engine
from reconciler.settings.model import Settings
from reconciler.temporal.client.connect import connect
from reconciler.temporal.config.load import load_config

#: Seconds between two attempts.
PAUSE = 1.0

log = structlog.get_logger(__name__)


async def wait_for_servers(settings: Settings, patience: timedelta) -> None:
    """Wait until the database and Temporal answer, for `patience` at most.

    Says nothing about the outcome: the command finds it out. Ends early if a server answers and
    refuses. Raises `ConfigurationError`.
    """
    temporal = load_config(settings.temporal_environment(), settings.proxy_url)

    async def ask() -> None:
        await _ask_database(settings.dsn())
        await connect(temporal, settings.max_rps)

    await _until(ask, patience)


async def wait_for_database(settings: Settings, patience: timedelta) -> None:
    """The same for the database alone."""
    await _until(lambda: _ask_database(settings.dsn()), patience)


async def _ask_database(dsn: Dsn) -> None:
    async with using_engine(dsn) as engine:
        with translated("connect to the database"):
            async with engine.connect():
                pass


async def _until(ask: Callable[[], Awaitable[None]], patience: timedelta) -> None:
    until, said = steady() + patience.total_seconds(), ""
    while (left := until - steady()) > 0:
        try:
            async with asyncio.timeout(left):
                await ask()
            break
        except (DatabaseUnfit, TemporalUnfit, TimeoutError):
            break
        except Unusable as error:
            if str(error) != said:
                said = str(error)
                log.info("waiting", error=said, for_up_to=f"{left:.0f} s")
            await asyncio.sleep(min(PAUSE, max(0, until - steady())))
