"""What happens to everybody during the soak: killed, stopped, suspended, and their clocks set."""

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
from tests.support.servers.restartable import RestartablePostgres, RestartableTemporal

#: Seconds between two blows, and that a server stays away.
PAUSE = (2.0, 6.0)
AWAY = (0.5, 8.0)
#: What a host's clock is set to, off the true time: a little, an hour, years, and right.
CLOCKS = [timedelta(seconds=s) for s in (-70, 70, -3600, 5 * 3600, -20 * 31536000, 20 * 31536000)]
CLOCKS += [timedelta()] * 2


@dataclass
class Replica:
    """`reconciler run`, started again whenever it has ended, as a container is."""

    command: Command
    clock: HostClock
    now: Daemon | None = None
    #: Log lines of all its lives.
    lines: list[dict[str, object]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    peak_rss: int = 0

    async def run(self) -> None:
        while True:
            async with daemon(self.command, RECONCILER_MAX_RPS="0") as self.now:
                try:
                    while self.now.process.returncode is None:
                        with suppress(psutil.Error):
                            rss = psutil.Process(self.now.process.pid).memory_info().rss
                            self.peak_rss = max(self.peak_rss, rss)
                        await asyncio.sleep(0.2)
                finally:
                    self.lines += self.now.lines
            code = self.now.process.returncode
            assert code is not None
            self.codes[code] += 1

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.now is not None:
                self.now.send(number)


@dataclass
class Chaos:
    """Both servers, all replicas, and what has been done to them."""

    postgres: RestartablePostgres
    temporal: RestartableTemporal
    replicas: list[Replica]
    random: random.Random
    blows: Counter[str] = field(default_factory=Counter)
    slowest_stop: float = 0.0

    async def rage(self, seconds: float) -> None:
        """For so long; both servers are up in the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name, blow = self.random.choice(self._blows())
            self.blows[name] += 1
            self._set_a_clock()
            await blow()
            await asyncio.sleep(self.random.uniform(*PAUSE))

    def _blows(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        return [
            ("PostgreSQL killed", lambda: self._killed(self.postgres)),
            ("Temporal killed", lambda: self._killed(self.temporal)),
            ("PostgreSQL suspended", lambda: self._suspended(self.postgres)),
            ("Temporal suspended", lambda: self._suspended(self.temporal)),
            ("replica killed", self._replica_killed),
            ("replica told to stop", self._replica_stopped),
            ("replica suspended", self._replica_suspended),
        ]

    async def _away(self) -> None:
        await asyncio.sleep(self.random.uniform(*AWAY))

    async def _killed(self, server: RestartablePostgres | RestartableTemporal) -> None:
        await server.kill()
        await self._away()
        await server.start()

    async def _suspended(self, server: RestartablePostgres | RestartableTemporal) -> None:
        server.pause()
        await self._away()
        server.resume()

    async def _replica_killed(self) -> None:
        self.random.choice(self.replicas).send(signal.SIGKILL)

    async def _replica_stopped(self) -> None:
        replica = self.random.choice(self.replicas)
        if replica.now is None or not replica.now.logged("http_listening"):
            return
        began, life = time.monotonic(), replica.now
        replica.send(signal.SIGTERM)
        assert await life.ended(20) == 0
        self.slowest_stop = max(self.slowest_stop, time.monotonic() - began)

    def _set_a_clock(self) -> None:
        self.blows["clock set"] += 1
        self.random.choice(self.replicas).clock.set(self.random.choice(CLOCKS))

    async def _replica_suspended(self) -> None:
        replica = self.random.choice(self.replicas)
        replica.send(signal.SIGSTOP)
        await asyncio.sleep(self.random.uniform(1, 20))  # past its lease, now and then
        replica.send(signal.SIGCONT)
