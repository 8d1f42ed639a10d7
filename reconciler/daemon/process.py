"""The process of `reconciler run`: signals, the connections at the start, the exit."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import structlog

from reconciler.app.app import App
from reconciler.app.wiring import open_app
from reconciler.core.errors import DatabaseUnfit, TemporalUnfit, Unusable
from reconciler.core.model import Mode
from reconciler.daemon.health import Health
from reconciler.daemon.loop import Loop
from reconciler.daemon.page import open_page
from reconciler.daemon.page_source import LoopPage
from reconciler.daemon.schedule import Schedule, retry_delay
from reconciler.host.signals import on_signals
from reconciler.settings.model import Settings
from reconciler.temporal.client.runtime import observed_runtime
from reconciler.web.metrics.passes import PassMetrics
from reconciler.web.metrics.sdk import SdkMetrics
from reconciler.web.routes import create_web
from reconciler.web.server import serving

#: Seconds from the first signal to the end of the process.
STOP_TIMEOUT = 9.0

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
    page = open_page(settings, LoopPage(health, settings, temporal))
    web = serving(create_web(health, page), settings.http_host, settings.http_port)
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
            health.not_connected(error)
            await asyncio.sleep(delay)
