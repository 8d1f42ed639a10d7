"""`reconciler run`: passes on a schedule, for months.

One loop does everything: the keeper claims the lease, the scheduler starts a pass when one is due
and the lease is ours, uvicorn answers. A pass that fails is tried again after a while that grows,
and the lease is given up meanwhile: another replica may be better placed. Asked to stop, it stops
the pass at the next row, writes what has been decided, and leaves within ten seconds.

```
wait for both servers, then
keeper     claims the lease      taken ─► a pass at once      lost ─► the pass is stopped
scheduler  when a pass is due, and the lease is held: app.run_pass("run", [metrics])
             failed  ─► forget pooled connections, give the lease up, claim it after the back-off
             stopped ─► nothing: somebody asked for it
web        asks health: the keeper's last turn, both servers, the last good pass
```

Everything that waits has a limit: a claim 5 s, a call to Temporal 10 s, a statement 30 s, its
answer 60 s, stopping 9 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from temporalio.runtime import Runtime

from reconciler.app.lease import Keeper
from reconciler.app.wiring import App, open_app
from reconciler.core.errors import DatabaseUnfit, TemporalUnfit, Unusable
from reconciler.core.model import Mode
from reconciler.daemon.health import Health
from reconciler.daemon.schedule import MAX_JITTER, Schedule, jitter, retry_delay
from reconciler.daemon.scheduler import Scheduler
from reconciler.host.signals import stop_on_signals
from reconciler.host.steady_clock import steady
from reconciler.passes.observers import Bystander
from reconciler.settings.model import Settings
from reconciler.temporal.client.runtime import observed_runtime
from reconciler.web.metrics.passes import PassMetrics
from reconciler.web.metrics.sdk import SdkMetrics
from reconciler.web.routes import create_web
from reconciler.web.server import serving

#: Seconds that a pass has to write what it has decided; then it is ended where it is.
DRAIN_TIMEOUT = 6.0
#: Seconds for everything between the request to stop and the end of the process.
STOP_TIMEOUT = 9.0
SDK_METRICS_EVERY = timedelta(seconds=2)

log = structlog.get_logger(__name__)


async def run_daemon(settings: Settings, schedule: Schedule, temporal: Mapping[str, Any]) -> None:
    """Pass after pass until SIGTERM or SIGINT.

    Raises `ConfigurationError`, or `Unusable` where a server refuses what the settings say; one
    that is merely away is waited for.
    """
    with stop_on_signals() as (asked, asked_again):
        running = asyncio.create_task(_run(settings, schedule, temporal))
        await _wait(running, unless=asked)
        if not asked.is_set():
            running.result()
        log.info("stopping")
        running.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await _wait(running, unless=asked_again)
                if not running.done():
                    log.warning("write_given_up", hint="asked to stop a second time")
                    running.cancel()
                    await asyncio.wait({running})
        if running.done():
            log.info("stopped")
        else:
            log.warning("stopped", hint="a server is silent, and is not waited for")
        # At once: a server or a name service that is silent holds up whoever waits for it, and what
        # it has not confirmed is for the next pass, of whichever replica.
        os._exit(0)


async def _wait(running: asyncio.Task[None], unless: asyncio.Event) -> None:
    asked = asyncio.create_task(unless.wait())
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()


async def _run(settings: Settings, schedule: Schedule, temporal: Mapping[str, Any]) -> None:
    # A second series for each, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    runtime, updates = observed_runtime()
    sdk = SdkMetrics(updates.retrieve_updates)
    registry.register(sdk)
    health = Health(schedule, registry)
    async with AsyncExitStack() as stack:
        web = create_web(health)
        await stack.enter_async_context(serving(web, settings.http_host, settings.http_port))
        app = await _opened(stack, settings, temporal, runtime, health)
        await Loop(app, schedule, PassMetrics(registry, Mode.RUN, app.clock.now), sdk, health).run()


async def _opened(
    stack: AsyncExitStack,
    settings: Settings,
    temporal: Mapping[str, Any],
    runtime: Runtime,
    health: Health,
) -> App:
    """Connect to both sides, and wait for the one that is away; a container must not crash-loop."""
    failures = 0
    while True:
        try:
            return await stack.enter_async_context(
                open_app(settings, writing=True, looping=True, temporal=temporal, runtime=runtime)
            )
        except (DatabaseUnfit, TemporalUnfit):
            raise
        except Unusable as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # put off while connections were closed
                raise asyncio.CancelledError from error
            failures += 1
            delay = retry_delay(failures)
            log.warning("server_unusable", error=str(error), retry_in=round(delay, 1))
            health.waiting_for = str(error)
            await asyncio.sleep(delay)


class Loop:
    """Passes when they are due and the lease is ours."""

    def __init__(
        self, app: App, schedule: Schedule, metrics: PassMetrics, sdk: SdkMetrics, health: Health
    ) -> None:
        self._app, self._schedule, self._metrics, self._sdk = app, schedule, metrics, sdk
        self._observing = Bystander(metrics)
        self._keeper = Keeper(
            app.lease(),
            self._pass_at_once,
            self._stand_by,
            app.forget_connections,
            is_overdue=self._is_overdue,
        )
        self._scheduler = Scheduler()
        self._passing: asyncio.Task[None] | None = None
        #: When a pass has to have started, by the steady clock; the scheduler does not know of it.
        self._due_by = float("inf")
        self._cut_short = self._ending = False
        self._failures = 0
        health.app, health.keeper, health.passes = app, self._keeper, metrics
        health.waiting_for = None

    async def run(self) -> None:
        """Run until cancelled."""
        with contextlib.suppress(Unusable):  # the first pass finds out
            await self._app.clock.read()  # cron times go by it
        self._scheduler.add(Mode.RUN, self._tick, self._wait)
        self._scheduler.add("sdk", self._drain_sdk, lambda _: SDK_METRICS_EVERY)
        self._scheduler.start()
        log.info(
            "loop_started",
            schedule=str(self._schedule),
            namespace=self._app.namespace.name,
            table=self._app.settings.table,
        )
        if not self._app.journals:
            log.warning(
                "journal_off",
                hint="every replica passes, and what is changed cannot be undone",
            )
        try:
            await self._keeper.keep()
        finally:
            self._ending = True
            self._scheduler.stop()
            await self._drain()
            await self._keeper.release()

    def _pass_at_once(self) -> None:
        self._due_by = self._from_now(timedelta())
        self._scheduler.at_once(Mode.RUN)

    def _wait(self, since: timedelta | None) -> timedelta:
        """Until the next pass. Cron times are the database's, by which readiness is judged too."""
        return self._schedule.wait(self._app.clock.now(), since) + jitter(self._schedule)

    @staticmethod
    def _from_now(wait: timedelta) -> float:
        return steady() + (wait + MAX_JITTER).total_seconds()

    def _is_overdue(self) -> bool:
        """Whether a pass should have started by now; not while one runs."""
        busy = self._ending or (self._passing is not None and not self._passing.done())
        return not busy and steady() > self._due_by

    def _stand_by(self) -> None:
        self._metrics.forget()
        if self._passing and not self._passing.done() and not self._cut_short:
            self._cut_short = True
            self._passing.cancel()  # once: asked again, it would give up its write

    async def _tick(self) -> None:
        """Pass, if the lease is ours; once more, if it was lost meanwhile and has come back."""
        self._cut_short = True
        while self._cut_short and self._keeper.holds and not self._ending:
            self._cut_short, self._keeper.gave_up_at = False, None
            self._due_by = self._from_now(self._wait(None))
            # A task of its own: the scheduler would cut it short when it is shut down.
            self._passing = asyncio.create_task(self._pass())
            with contextlib.suppress(asyncio.CancelledError):  # or it would be told as a failure
                await asyncio.wait({self._passing})
            self._due_by = max(self._due_by, self._from_now(self._wait(None)))

    async def _pass(self) -> None:
        next_due = steady() + self._schedule.wait(self._app.clock.now(), None).total_seconds()
        try:
            report = await self._app.run_pass(
                Mode.RUN, dry_run=False, observers=[self._observing], remap=True
            )
        except Exception:
            log.exception("pass_crashed", hint="this is a bug, please report it")
            self._metrics.crash()
            await self._back_off("a bug")
            return
        if report.stopped:
            return
        if report.error is not None:
            await self._back_off(report.error)
            return
        self._failures = 0
        if steady() > next_due:
            self._metrics.overrun()
            log.warning(
                "pass_overran",
                hint="the next one starts when it is due",
                seconds=round(report.duration_seconds, 1),
                rows=report.tally.scanned,
            )

    async def _back_off(self, why: str) -> None:
        self._failures += 1
        self._metrics.forget()
        delay = retry_delay(self._failures)
        log.warning("pass_failed", error=why, failures=self._failures, retry_in=round(delay, 1))
        await self._keeper.stand_back(delay)
        await self._app.forget_connections()

    async def _drain_sdk(self) -> None:
        self._sdk.drain()

    async def _drain(self) -> None:
        """Let the pass write what has been decided."""
        passing = self._passing
        if passing is None or passing.done():
            return
        if not self._cut_short:  # it has been asked already
            passing.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # asked again
            await asyncio.wait({passing}, timeout=DRAIN_TIMEOUT)
        if not passing.done():
            passing.cancel()
            await asyncio.wait({passing})
