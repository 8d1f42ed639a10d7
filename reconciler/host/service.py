"""Processes that run for months: what they do at a signal, and how they exit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine

import structlog

from reconciler.host.signals import on_signals

#: Seconds from the first signal to the end of the process.
STOP_TIMEOUT = 9.0

log = structlog.get_logger(__name__)


async def run_until_signal(work: Coroutine[None, None, None]) -> None:
    """Run until SIGTERM or SIGINT, which cancels it; then exit, in `STOP_TIMEOUT` at the latest.

    Raises what the work raises, unless it is stopping.
    """
    running = asyncio.create_task(work)
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
    os._exit(0)  # another process, or the next one, does what was not committed
