"""`reconciler run`: passes on a schedule, for months.

A failed pass is retried after a growing delay; meanwhile the lease is released, since another
replica may fare better. On a signal, the loop stops the pass at the next row, writes what has been
decided, and exits within ten seconds.

```
connect to both servers, waiting for the one that is unreachable, then
keeper     claims the lease      acquired ─► a pass at once      lost ─► stop the pass
scheduler  when a pass is due and the lease is held: app.run_pass("run", [metrics])
             failed  ─► drop pooled connections, release the lease, claim it after the delay
             stopped ─► nothing: a signal or a lost lease stopped it
web        asks health: the keeper's last claim, both servers, the last good pass
```

Limits: a claim 5 s, a call to Temporal 10 s, a statement 30 s, its answer 60 s, stopping 9 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from reconciler.app.lease import LeaseKeeper
from reconciler.app.wiring import App, open_app
from reconciler.core.errors import DatabaseUnfit, TemporalUnfit, Unusable
from reconciler.core.model import Mode
from reconciler.daemon.health import Health
from reconciler.daemon.schedule import MAX_JITTER, Schedule, jitter, retry_delay
from reconciler.daemon.scheduler import Scheduler
from reconciler.host.signals import on_signals
from reconciler.host.steady_clock import steady
from reconciler.passes.observers import Bystander
from reconciler.settings.model import Settings
from reconciler.temporal.client.runtime import observed_runtime
from reconciler.web.metrics.passes import PassMetrics
from reconciler.web.metrics.sdk import SdkMetrics
from reconciler.web.routes import create_web
from reconciler.web.server import serving

#: Seconds for a stopped pass to write what it has decided.
DRAIN_TIMEOUT = 6.0
#: Seconds from the first signal to the end of the process.
STOP_TIMEOUT = 9.0
SDK_METRICS_EVERY = timedelta(seconds=2)

log = structlog.get_logger(__name__)


async def run_daemon(settings: Settings, schedule: Schedule, temporal: Mapping[str, Any]) -> None:
    """Run pass after pass until SIGTERM or SIGINT.

    Raises `ConfigurationError`, or `Unusable` if a server rejects the settings.
    """
    running = asyncio.create_task(_run(settings, schedule, temporal))
    stopping = asyncio.Event()

    def stop() -> None:
        log.info("stopping")
        stopping.set()
        running.cancel()
        asyncio.get_running_loop().call_later(STOP_TIMEOUT, _exit_without_waiting)

    with on_signals(stop, running.cancel):
        await asyncio.wait({running})
        if not stopping.is_set():
            running.result()
        log.info("stopped")
        os._exit(0)  # a normal exit would wait for a silent name service


def _exit_without_waiting() -> None:
    log.warning("stopped", hint="a server did not answer in time")
    os._exit(0)  # the next pass, in whichever replica, finds what was not committed


async def _run(settings: Settings, schedule: Schedule, temporal: Mapping[str, Any]) -> None:
    # Each pass maps the table again and leaves cycles behind, which would only be collected once
    # they are a quarter of all objects, modules included.
    gc.freeze()
    gc.set_threshold(700, 10, 1)
    health = Health(schedule)
    runtime, updates = observed_runtime()
    sdk = SdkMetrics(updates.retrieve_updates)
    health.registry.register(sdk)
    opening = partial(
        open_app, settings, writing=True, looping=True, temporal=temporal, runtime=runtime
    )
    web = serving(create_web(health), settings.http_host, settings.http_port)
    async with web, AsyncExitStack() as stack:
        app = await _connect(opening, stack, health)
        metrics = PassMetrics(health.registry, Mode.RUN, app.clock.now)
        await Loop(app, schedule, metrics, sdk, health).run()


async def _connect(
    opening: Callable[[], AbstractAsyncContextManager[App]], stack: AsyncExitStack, health: Health
) -> App:
    """Connect, retrying while a server is unreachable: a container must not crash-loop."""
    failures = 0
    while True:
        try:
            return await stack.enter_async_context(opening())
        except (DatabaseUnfit, TemporalUnfit):
            raise
        except Unusable as error:
            if (task := asyncio.current_task()) and task.cancelling():  # put off by `close`
                raise asyncio.CancelledError from error
            failures += 1
            delay = retry_delay(failures)
            log.warning("server_unusable", error=str(error), retry_in=round(delay, 1))
            health.waiting_for = str(error)
            await asyncio.sleep(delay)


class Loop:
    """Runs a pass when one is due and this process holds the lease."""

    def __init__(
        self, app: App, schedule: Schedule, metrics: PassMetrics, sdk: SdkMetrics, health: Health
    ) -> None:
        self._app, self._schedule = app, schedule
        self._metrics, self._sdk = metrics, sdk
        self._keeper = LeaseKeeper(
            app.lease(),
            on_acquired=self._run_at_once,
            on_lost=self._lease_lost,
            on_failed=app.forget_connections,
            is_overdue=self._is_overdue,
        )
        self._scheduler = Scheduler()
        self._passing: asyncio.Task[None] | None = None
        #: The `steady` time by which a pass must have started, whatever the scheduler does.
        self._due_by = float("inf")
        #: Whether the pass has been asked to stop; and the loop.
        self._stopping = self._ending = False
        self._failures = 0
        health.connected(app, self._keeper, metrics)

    async def run(self) -> None:
        """Run until cancelled."""
        with contextlib.suppress(Unusable):  # the first pass reports it
            await self._app.clock.read()  # cron uses the database's time
        self._scheduler.add(Mode.RUN, self._run_due_pass, self._until_next)
        self._scheduler.add("sdk", self._drain_sdk, lambda _: SDK_METRICS_EVERY)
        self._scheduler.start()
        table, namespace = self._app.settings.table, self._app.namespace.name
        log.info("loop_started", schedule=str(self._schedule), namespace=namespace, table=table)
        if not self._app.journals:
            log.warning("journal_off", hint="every replica passes, changes cannot be undone")
        try:
            await self._keeper.run()
        finally:
            self._ending = True
            self._scheduler.stop()
            await self._drain()
            await self._keeper.release()

    def _run_at_once(self) -> None:
        self._due_by = steady() + MAX_JITTER.total_seconds()
        self._scheduler.at_once(Mode.RUN)

    def _until_next(self, since: timedelta | None) -> timedelta:
        """The time until the next pass, by the database's clock, as for readiness."""
        return self._schedule.wait(self._app.clock.now(), since) + jitter(self._schedule)

    def _next_due(self) -> float:
        return steady() + (self._until_next(None) + MAX_JITTER).total_seconds()

    def _is_overdue(self) -> bool:
        passing = self._passing is not None and not self._passing.done()
        return steady() > self._due_by and not passing and not self._ending

    def _lease_lost(self) -> None:
        self._metrics.forget()
        self._stop_pass()

    def _stop_pass(self) -> None:
        if self._passing and not self._passing.done() and not self._stopping:
            self._stopping = True
            self._passing.cancel()  # once: a second time would give up the write

    async def _run_due_pass(self) -> None:
        """Run a pass if the lease is held; repeat it if the lease was lost and is held again."""
        self._stopping = True
        while self._stopping and self._keeper.holds and not self._ending:
            self._stopping, self._keeper.gave_up_at = False, None
            self._due_by = self._next_due()
            # A task of its own: the scheduler would cancel the pass when it is shut down.
            self._passing = asyncio.create_task(self._pass())
            with contextlib.suppress(asyncio.CancelledError):  # APScheduler would log it
                await asyncio.wait({self._passing})
            self._due_by = max(self._due_by, self._next_due())

    async def _pass(self) -> None:
        next_due = steady() + self._schedule.wait(self._app.clock.now(), None).total_seconds()
        try:
            report = await self._app.run_pass(
                Mode.RUN, dry_run=False, observers=[Bystander(self._metrics)], remap=True
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
        await self._keeper.release_for(delay)
        await self._app.forget_connections()

    async def _drain_sdk(self) -> None:
        self._sdk.drain()

    async def _drain(self) -> None:
        """Let the pass write what it has decided; cancel it again after `DRAIN_TIMEOUT`."""
        self._stop_pass()
        if (passing := self._passing) is None:
            return
        with contextlib.suppress(asyncio.CancelledError):  # a second signal
            await asyncio.wait({passing}, timeout=DRAIN_TIMEOUT)
        if not passing.done():
            passing.cancel()
            await asyncio.wait({passing})
