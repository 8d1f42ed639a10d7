"""`reconciler run`: passes on a schedule, for months. The only module that knows APScheduler.

One loop does everything: the keeper claims the lease, the scheduler starts a pass when one is due
and the lease is ours, uvicorn answers. A pass that fails is tried again after a while that grows,
and the lease is given up meanwhile: another replica may be better placed. Asked to stop, it stops
the pass at the next row, writes what has been decided, and leaves within ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from temporalio.runtime import Runtime

from reconciler.app import App, open_app
from reconciler.errors import DatabaseUnfit, TemporalUnfit, Unusable
from reconciler.health import Health
from reconciler.interrupt import stop_on_signals
from reconciler.keeper import Keeper
from reconciler.metrics.passes import PassMetrics
from reconciler.metrics.sdk import SdkMetrics
from reconciler.schedule import Cron, Every, Schedule, retry_delay
from reconciler.settings.model import Settings
from reconciler.temporal.runtime import observed_runtime
from reconciler.web.routes import create_web
from reconciler.web.server import serving

MODE = "run"
#: Seconds that a pass has to write what it has decided; then it is ended where it is.
DRAIN_TIMEOUT = 6.0
#: Seconds for everything between the request to stop and the end of the process.
STOP_TIMEOUT = 9.0
#: The schedule is varied by a tenth of the interval, by this at the most.
MAX_JITTER = timedelta(seconds=1)
SDK_METRICS_EVERY = timedelta(seconds=2)

log = structlog.get_logger(__name__)


async def run_daemon(settings: Settings, schedule: Schedule, temporal: Mapping[str, Any]) -> None:
    """Pass after pass until SIGTERM or SIGINT.

    Raises `ConfigurationError`, or `Unusable` where a server refuses what the settings say; one
    that is merely away is waited for.
    """
    with stop_on_signals() as asked:
        running = asyncio.create_task(_run(settings, schedule, temporal))
        stopping = asyncio.create_task(asked.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asked.is_set():
            running.result()
        log.info("stopping")
        running.cancel()
        await asyncio.wait({running}, timeout=STOP_TIMEOUT)
        if running.done():
            log.info("stopped")
        else:
            log.warning("stopped without waiting for a silent server")
        # At once: a server or a name service that is silent holds up whoever waits for it, and what
        # it has not confirmed is for the next pass, of whichever replica.
        os._exit(0)


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
        await Loop(app, schedule, PassMetrics(registry, MODE), sdk, health).run()


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
            failures += 1
            delay = retry_delay(failures)
            log.warning("waiting", error=str(error), retry_in=round(delay, 1))
            health.waiting_for = str(error)
            await asyncio.sleep(delay)


class Loop:
    """Passes when they are due and the lease is ours."""

    def __init__(
        self, app: App, schedule: Schedule, metrics: PassMetrics, sdk: SdkMetrics, health: Health
    ) -> None:
        self._app, self._schedule, self._metrics, self._sdk = app, schedule, metrics, sdk
        self._keeper = Keeper(
            app.lease(), self._pass_at_once, self._stand_by, app.forget_connections
        )
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._passing: asyncio.Task[None] | None = None
        self._cut_short = self._ending = False
        self._failures = 0
        health.app, health.keeper, health.passes = app, self._keeper, metrics
        health.waiting_for = None

    async def run(self) -> None:
        """Run until cancelled."""
        once_at_a_time = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(self._tick, _trigger(self._schedule), id=MODE, **once_at_a_time)
        self._scheduler.add_job(
            self._drain_sdk, IntervalTrigger(seconds=int(SDK_METRICS_EVERY.total_seconds()))
        )
        self._scheduler.start()
        log.info(
            "running",
            schedule=str(self._schedule),
            namespace=self._app.namespace.name,
            table=self._app.settings.table,
        )
        if not self._app.journals:
            log.warning(
                "RECONCILER_JOURNAL is off: every replica passes, nothing can be undone, and what "
                "was changed is in this log alone"
            )
        try:
            await self._keeper.keep()
        finally:
            self._ending = True
            self._scheduler.shutdown(wait=False)
            await self._drain()
            await self._keeper.release()

    def _pass_at_once(self) -> None:
        self._scheduler.modify_job(MODE, next_run_time=datetime.now(UTC))

    def _stand_by(self) -> None:
        self._metrics.forget()
        if self._passing and not self._passing.done():
            self._cut_short = True
            self._passing.cancel()

    async def _tick(self) -> None:
        """Pass, if the lease is ours; once more, if it was lost meanwhile and has come back."""
        self._cut_short = True
        while self._cut_short and self._keeper.holds and not self._ending:
            self._cut_short = False
            # A task of its own: the scheduler would cut it short when it is shut down.
            self._passing = asyncio.create_task(self._pass())
            with contextlib.suppress(asyncio.CancelledError):  # or it would be told as a failure
                await asyncio.wait({self._passing})

    async def _pass(self) -> None:
        began = datetime.now(UTC)
        try:
            report = await self._app.run_pass(MODE, dry_run=False, observers=[self._metrics])
        except Exception:
            log.exception("a pass failed by a bug, please report it")
            self._metrics.crash()
            await self._back_off("a bug")
            return
        if report.stopped:
            return
        if report.error is not None:
            await self._back_off(report.error)
            return
        self._failures = 0
        if datetime.now(UTC) > self._schedule.due_after(began, 1):
            self._metrics.overrun()
            log.warning(
                "the pass took longer than the interval; the next one follows when it is due",
                seconds=round(report.duration_seconds, 1),
                rows=report.scanned,
            )

    async def _back_off(self, why: str) -> None:
        self._failures += 1
        self._metrics.forget()
        delay = retry_delay(self._failures)
        log.warning("pass failed", error=why, failures=self._failures, retry_in=round(delay, 1))
        await self._keeper.stand_back(delay)
        await self._app.forget_connections()

    async def _drain_sdk(self) -> None:
        self._sdk.drain()  # async, or the scheduler would do it in a thread

    async def _drain(self) -> None:
        """Let the pass write what has been decided."""
        passing = self._passing
        if passing is None or passing.done():
            return
        passing.cancel()
        await asyncio.wait({passing}, timeout=DRAIN_TIMEOUT)
        if not passing.done():
            passing.cancel()
            await asyncio.wait({passing})


def _trigger(schedule: Schedule) -> BaseTrigger:
    if isinstance(schedule, Every):
        jitter = min(schedule.interval / 10, MAX_JITTER).total_seconds()
        seconds = schedule.interval.total_seconds()
        return IntervalTrigger(seconds=seconds, jitter=jitter, timezone=UTC)
    return _CronTrigger(schedule)


class _CronTrigger(BaseTrigger):  # type: ignore[misc]  # no types there
    def __init__(self, cron: Cron) -> None:
        self._cron = cron

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return self._cron.due_after(previous or now, 1)
