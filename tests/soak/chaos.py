"""Random faults for the soak: servers and replicas are killed and suspended, clocks are set.

Visibility is late, refuses, or does not answer.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import psutil

from tests.support.commands.command import Command
from tests.support.commands.daemon import Daemon, daemon
from tests.support.commands.host_clock import HostClock
from tests.support.network.frontend import HANG
from tests.support.network.visibility import Visibility
from tests.support.servers.restartable import RestartablePostgres, RestartableTemporal

#: Rows that are refused because others in their batch are get another batch in the sweep.
SETTINGS = {
    "RECONCILER_MAX_RPS": "0",
    "RECONCILER_FEED_INTERVAL": "1s",
    "RECONCILER_FULL_SWEEP_INTERVAL": "20s",
}
#: Seconds between two faults, and seconds that a server is down.
PAUSE = (2.0, 6.0)
DOWNTIME = (0.5, 8.0)
#: Seconds by which visibility is late.
LAGS = (0.0, 3.0, 30.0)
#: Offsets of a host's clock from the true time: a minute, hours, years, and none.
CLOCKS = [timedelta(seconds=s) for s in (-70, 70, -3600, 5 * 3600, -20 * 31536000, 20 * 31536000)]
CLOCKS += [timedelta()] * 2


@dataclass
class Replica:
    """`reconciler run`, restarted whenever it ends, as a container is."""

    command: Command
    clock: HostClock
    current: Daemon | None = None
    #: Log lines of all its processes.
    lines: list[dict[str, object]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    peak_rss: int = 0

    async def run(self) -> None:
        while True:
            async with daemon(self.command, **SETTINGS) as self.current:
                try:
                    while self.current.process.returncode is None:
                        with suppress(psutil.Error):
                            rss = psutil.Process(self.current.process.pid).memory_info().rss
                            self.peak_rss = max(self.peak_rss, rss)
                        await asyncio.sleep(0.2)
                finally:
                    self.lines += self.current.lines
            code = self.current.process.returncode
            assert code is not None
            self.codes[code] += 1

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.current is not None:
                self.current.send(number)


@dataclass
class Chaos:
    """Injects faults into both servers and all replicas, and counts them."""

    postgres: RestartablePostgres
    temporal: RestartableTemporal
    visibility: Visibility
    replicas: list[Replica]
    random: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    slowest_stop: float = 0.0

    async def run(self, seconds: float) -> None:
        """Inject faults for this long; both servers and visibility are well at the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name, inject = self.random.choice(self._faults())
            self.faults[name] += 1
            self._set_a_clock()
            await inject()
            await asyncio.sleep(self.random.uniform(*PAUSE))
        self.visibility.lag = 0

    def _faults(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        return [
            ("PostgreSQL killed", lambda: self._killed(self.postgres)),
            ("Temporal killed", lambda: self._killed(self.temporal)),
            ("PostgreSQL suspended", lambda: self._suspended(self.postgres)),
            ("Temporal suspended", lambda: self._suspended(self.temporal)),
            ("visibility down", lambda: self._visibility_down("UNAVAILABLE")),
            ("visibility throttled", lambda: self._visibility_down("RESOURCE_EXHAUSTED")),
            ("visibility silent", lambda: self._visibility_down(HANG)),
            ("visibility late", self._visibility_late),
            ("replica killed", self._replica_killed),
            ("replica stopped", self._replica_stopped),
            ("replica suspended", self._replica_suspended),
        ]

    async def _downtime(self) -> None:
        await asyncio.sleep(self.random.uniform(*DOWNTIME))

    async def _killed(self, server: RestartablePostgres | RestartableTemporal) -> None:
        await server.kill()
        await self._downtime()
        await server.start()

    async def _suspended(self, server: RestartablePostgres | RestartableTemporal) -> None:
        server.pause()
        await self._downtime()
        server.resume()

    async def _visibility_down(self, refusal: str) -> None:
        self.visibility.fail(refusal)
        await self._downtime()
        self.visibility.recover(backlog=self.random.uniform(0, 10))

    async def _visibility_late(self) -> None:
        """Until it is late by another time."""
        self.visibility.lag = self.random.choice(LAGS)

    async def _replica_killed(self) -> None:
        self.random.choice(self.replicas).send(signal.SIGKILL)

    async def _replica_stopped(self) -> None:
        replica = self.random.choice(self.replicas)
        if replica.current is None or not replica.current.logged("http_listening"):
            return
        began, stopping = time.monotonic(), replica.current
        replica.send(signal.SIGTERM)
        assert await stopping.ended(20) == 0
        self.slowest_stop = max(self.slowest_stop, time.monotonic() - began)

    def _set_a_clock(self) -> None:
        self.faults["clock set"] += 1
        self.random.choice(self.replicas).clock.set(self.random.choice(CLOCKS))

    async def _replica_suspended(self) -> None:
        replica = self.random.choice(self.replicas)
        replica.send(signal.SIGSTOP)
        await asyncio.sleep(self.random.uniform(1, 20))  # sometimes longer than its lease
        replica.send(signal.SIGCONT)
