"""SIGTERM and Ctrl-C do the same: cron, containers and people stop a command in the same way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar

#: The exit code of shells for it: 128 + SIGINT.
INTERRUPTED = 130
#: Signals that are handled; the next one ends the process.
HANDLED = 2
NUMBERS = (signal.SIGINT, signal.SIGTERM)

_T = TypeVar("_T")


class Signals:
    """Stops a command on SIGINT and SIGTERM.

    The first signal stops it, the second gives up its current work, the third ends the process.
    Outside the event loop, a command only notes them: it finishes reading its settings or printing
    its report.
    """

    def __init__(self) -> None:
        #: The number of signals so far.
        self.asked = 0
        self._cancel: Callable[[], object] | None = None
        self._asking = False

    def install(self) -> None:
        """Handle both signals from now on."""
        for number in NUMBERS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked += 1
        if self.asked > HANDLED:
            os._exit(INTERRUPTED)
        if self._asking:
            raise KeyboardInterrupt
        if self._cancel is not None:
            self._cancel()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let a signal interrupt a question, which blocks the event loop."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run an event loop in which a signal cancels the work."""

        async def cancellable() -> _T:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101
            self._cancel = partial(task.get_loop().call_soon_threadsafe, task.cancel)
            if self.asked:
                task.cancel()
            try:
                return await work()
            finally:
                self._cancel = None

        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(cancellable())


signals = Signals()


class _Threads(ThreadPoolExecutor):
    """Not waited for at exit: a name service may be silent for a minute."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Take no more work."""
        super().shutdown(wait=False, cancel_futures=True)


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Threads())
    return loop


@contextmanager
def on_signals(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """Call `first` on the first SIGTERM or SIGINT, `second` on the second; exit on the third."""
    loop, actions = asyncio.get_running_loop(), iter((first, second))

    def handle(number: signal.Signals) -> None:
        if (action := next(actions, None)) is None:
            os._exit(128 + number)
        action()

    for number in NUMBERS:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in NUMBERS:
            loop.remove_signal_handler(number)
