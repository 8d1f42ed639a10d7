"""What the targets of a process share, and how they end."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from reconciler.daemon import process
from reconciler.web.metrics.sdk import SdkMetrics
from tests.support.polling import deadline


async def test_metrics_of_the_sdk_are_fetched_in_the_main_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "SDK_METRICS_EVERY", timedelta(seconds=0.01))
    fetched, threads = asyncio.Event(), set()

    def fetch() -> list[object]:
        threads.add(threading.current_thread())
        fetched.set()
        return []

    async with process._drained(SdkMetrics(fetch)), deadline():  # type: ignore[arg-type]
        await fetched.wait()

    assert threads == {threading.main_thread()}


class Draining:
    """A target that ends at the second cancellation."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def run(self) -> None:
        while self.cancelled < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        raise asyncio.CancelledError


async def test_each_signal_reaches_every_target() -> None:
    targets = [Draining(), Draining()]
    running = asyncio.create_task(process._together(each.run() for each in targets))
    for count in (0, 1):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [each.cancelled for each in targets] == [count] * 2
        running.cancel()
    async with deadline():
        await asyncio.wait({running})

    assert running.cancelled()
    assert [each.cancelled for each in targets] == [2, 2]


async def test_a_target_that_ends_the_process_lets_the_others_drain() -> None:
    drained = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def drain() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            drained.set()

    with pytest.raises(ZeroDivisionError):
        await process._together([drain(), fail()])
    assert drained.is_set()
