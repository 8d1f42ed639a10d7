"""SIGTERM means what Ctrl-C means: cron, containers and people stop a command in the same way."""

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

#: As shells count signals: 128 + SIGINT.
INTERRUPTED = 130
#: The last signal that is heard; with the next one the process is gone.
GONE_AT = 2
NUMBERS = (signal.SIGINT, signal.SIGTERM)

_T = TypeVar("_T")


class Signals:
    """What SIGINT and SIGTERM have asked of a command.

    The first one asks it to stop, the second one to give up what it is doing; the third one ends
    the process. Outside of the event loop, a command goes on to the next thing that can be stopped:
    its settings are read, its report is printed.
    """

    def __init__(self) -> None:
        #: How many have come.
        self.asked = 0
        self._cancel: Callable[[], object] | None = None
        self._asking = False

    def install(self) -> None:
        """Handle both signals from here on."""
        for number in NUMBERS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked += 1
        if self.asked > GONE_AT:
            os._exit(INTERRUPTED)
        if self._asking:
            raise KeyboardInterrupt
        if self._cancel is not None:
            self._cancel()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let a signal end a question: the event loop stands still meanwhile."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run an event loop, in which a signal cancels the work."""

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


#: Those of this process.
signals = Signals()


class _Threads(ThreadPoolExecutor):
    """Is not waited for in the end: a name service may be silent for a minute."""

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
