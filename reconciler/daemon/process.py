"""The process of `reconciler run`: signals, what its targets share, the exit."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from temporalio.runtime import Runtime

from reconciler.app.app import App
from reconciler.app.wiring import Shared, open_app
from reconciler.daemon.health import Health, scrape
from reconciler.daemon.page import open_page
from reconciler.daemon.page_source import LoopPage
from reconciler.daemon.scheduler import Scheduler
from reconciler.daemon.target import Serving, Target, Unfit
from reconciler.host.service import run_until_signal
from reconciler.temporal.client.runtime import observed_runtime
from reconciler.web.metrics.sdk import SdkMetrics
from reconciler.web.metrics.targets import TargetsCollector, UpCollector, process_registry
from reconciler.web.routes import create_web
from reconciler.web.server import serving

SDK_METRICS_EVERY = timedelta(seconds=2)

log = structlog.get_logger(__name__)


async def run_daemon(targets: Sequence[Target]) -> None:
    """Run pass after pass for each target until SIGTERM or SIGINT.

    Raises `ConfigurationError`, or `Unusable` if a server rejects the settings of every target.
    """
    await run_until_signal(_run(targets))


async def _run(targets: Sequence[Target]) -> None:
    # Each pass maps the table again and leaves cycles behind, which would only be collected once
    # they are a quarter of all objects, modules included.
    gc.freeze()
    gc.set_threshold(700, 10, 1)
    runtime, updates = observed_runtime()
    sdk = SdkMetrics(updates.retrieve_updates)
    registry = process_registry()
    healths = _healths(targets, registry)
    registry.register(sdk)
    pages = {
        each.name: LoopPage(healths[each.name], each.settings, each.temporal) for each in targets
    }
    page = open_page([each.settings for each in targets], pages)
    web = create_web(healths, partial(scrape, registry, list(healths.values())), page)
    first, unfit = targets[0].settings, Unfit(list(healths))
    open_ = partial(_open, runtime, Shared([(each.settings, each.temporal) for each in targets]))
    served = [
        Serving(each, healths[each.name], partial(open_, each), unfit, number / len(targets))
        for number, each in enumerate(targets)
    ]
    async with serving(web, first.http_host, first.http_port), _drained(sdk):
        await _together(each.run() for each in served)


def _healths(targets: Sequence[Target], registry: CollectorRegistry) -> Mapping[str, Health]:
    """The health of each target, with its metrics in this registry; without targets, of none."""
    if not targets[0].name:
        return {"": Health(targets[0].schedule, registry)}
    healths = {each.name: Health(each.schedule, CollectorRegistry()) for each in targets}
    for health in healths.values():
        health.registry.register(UpCollector(health.is_up))
    registry.register(TargetsCollector({name: each.registry for name, each in healths.items()}))
    return healths


def _open(runtime: Runtime, shared: Shared, target: Target) -> AbstractAsyncContextManager[App]:
    return open_app(
        target.settings,
        writing=True,
        looping=True,
        temporal=target.temporal,
        runtime=runtime,
        shared=shared,
    )


@asynccontextmanager
async def _drained(sdk: SdkMetrics) -> AsyncIterator[None]:
    """Fetch what the SDK has counted, every few seconds."""

    async def drain() -> None:
        sdk.drain()

    scheduler = Scheduler()
    scheduler.add("sdk", drain, lambda _: SDK_METRICS_EVERY)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.stop()


async def _together(each: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them at the same time until one fails; cancel all as often as this is cancelled."""
    tasks = [asyncio.create_task(one) for one in each]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        while running := [task for task in tasks if not task.done()]:
            for task in running:
                task.cancel()
            with suppress(asyncio.CancelledError):  # a second signal
                await asyncio.wait(running)
