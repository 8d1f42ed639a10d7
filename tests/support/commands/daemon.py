"""`reconciler run` in its own process: its log lines as they arrive, and its HTTP server."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.commands.command import Command, Process
from tests.support.polling import PATIENCE

#: Probes, scrapes and views need not wait for an answer that is kept to expire.
LIMITS = {
    "reconciler.web.routes.READINESS_AGE": 0.2,
    "reconciler.web.routes.METRICS_AGE": 0.2,
    "reconciler.app.overview.kept.CURRENT": 0.2,
    "reconciler.app.overview.kept.PER_SECOND": 1,
    "reconciler.app.overview.kept.HURRY": 1,
}
#: For tests of replicas that disappear: a fraction of the true limits, which
#: `unit/test_time_limits.py` compares with what the docs promise.
SHORT_LEASE = {
    "reconciler.app.lease.LEASE_TIME": 6,
    "reconciler.app.lease.CLAIM_EVERY": 1,
    "reconciler.app.lease.CLAIM_AGAIN": 0.3,
}
#: For tests of servers that do not answer.
HURRIED = {
    **SHORT_LEASE,
    "reconciler.daemon.loop.DRAIN_TIMEOUT": 2,
    "reconciler.host.service.STOP_TIMEOUT": 3,
    "reconciler.daemon.health.CHECK_TIMEOUT": 1,
    "reconciler.app.lease.CLAIM_TIMEOUT": 2,
    "reconciler.app.lease.RELEASE_TIMEOUT": 0.7,
    "reconciler.postgres.connection.engine.CONNECT_TIMEOUT": 2,
    "reconciler.daemon.schedule.FIRST_RETRY": 0.5,
    "reconciler.temporal.client.connect.CONNECT_TIMEOUT": 2,
    "reconciler.temporal.client.calls.RPC_TIMEOUT": 2,
}
#: Without the root certificates, which take 10 ms of CPU to load.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Daemon:
    """A running loop; `lines` is what it has logged so far."""

    process: Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:  # an error message, or a traceback
                self.lines.append({"event": line.decode().rstrip()})
            self._news.set()

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The lines so far with this event and these fields."""
        return [line for line in self.lines if line.items() >= {"event": event, **fields}.items()]

    async def said(
        self, event: str, seconds: float = PATIENCE, /, **fields: object
    ) -> dict[str, Any]:
        """Wait for a line with this event and these fields; returns the newest one."""
        async with asyncio.timeout(seconds):
            while not (found := self.logged(event, **fields)):
                self._news.clear()
                await self._news.wait()
        return found[-1]

    async def get(self, path: str) -> httpx.Response:
        port = (await self.said("http_listening"))["port"]
        async with httpx.AsyncClient(timeout=PATIENCE, verify=NO_TLS) as client:
            return await client.get(f"http://127.0.0.1:{port}{path}")

    async def ready(self) -> bool:
        return (await self.get("/readyz")).status_code == 200

    async def holds(self) -> bool:
        """Whether it is ready and holds the lease."""
        return await self._is("holder")

    async def stands_by(self) -> bool:
        """Whether it is ready and on standby."""
        return await self._is("standby")

    async def _is(self, role: str) -> bool:
        answer = await self.get("/readyz")
        return answer.status_code == 200 and bool(answer.json()["role"] == role)

    async def metric(self, name: str, **labels: str) -> float | None:
        """One sample of a scrape; None if there is none."""
        text = (await self.get("/metrics")).text
        return next(
            (
                sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == name and sample.labels.items() >= labels.items()
            ),
            None,
        )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the process to end; returns its exit code."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def stop(self) -> int:
        self.send(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def daemon(reconciler: Command, *arguments: str, **variables: str) -> AsyncIterator[Daemon]:
    """Start `reconciler run` on a free port, with a pass every second by default."""
    settings = {
        "RECONCILER_HTTP_PORT": "0",
        "RECONCILER_INTERVAL": "1s",
        "RECONCILER_LOG_FORMAT": "json",
        **variables,
    }
    command = replace(reconciler, limits={**LIMITS, **reconciler.limits})
    async with running(command, "run", *arguments, **settings) as loop:
        yield loop


@asynccontextmanager
async def running(command: Command, *arguments: str, **variables: str) -> AsyncIterator[Daemon]:
    """Start a command that logs JSON lines; killed at the end if it still runs."""
    running = Daemon(await command.start(*arguments, **variables))
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        if running.process.returncode is None:
            running.process.kill()
        await running.process.wait()
        await listening
