"""SIGTERM means what Ctrl-C means: cron, containers and people stop a command in the same way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Cancel the current task on SIGTERM, as `asyncio.run` does on SIGINT."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set. A second one ends the process at once."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop(number: signal.Signals) -> None:
        if asked.is_set():
            log.warning("told to stop a second time: ending at once")
            os._exit(128 + number)
        asked.set()

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield asked
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
