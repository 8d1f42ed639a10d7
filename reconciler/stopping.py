"""A pass that is cancelled stops at a good place instead of where it is."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, TypeVarTuple

from reconciler.core.report import Report

#: Seconds that work has to end once it is given up.
GIVE_UP = 5.0

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


@contextlib.contextmanager
def stopping(report: Report) -> Iterator[None]:
    """Turn the first cancellation into a request to stop; let the second one through."""
    try:
        yield
    except asyncio.CancelledError:
        if report.stopped:
            raise
        heard()
        report.stop()


def heard() -> None:
    """A cancellation has been dealt with: the task is no longer being cancelled."""
    if task := asyncio.current_task():
        while task.uncancel():
            pass


def stop_at_the_next_step() -> None:
    """Put a cancellation off until the task waits for something."""
    if task := asyncio.current_task():
        heard()
        task.cancel()


async def finished(report: Report, work: asyncio.Task[None]) -> None:
    """Wait for work, even if the pass is stopped meanwhile; stopped again, give it up."""
    try:
        with stopping(report):
            await asyncio.wait([work])
        # `asyncio.wait` suspends for a task that is done, too: a first request there would pass for
        # a second one.
        if not work.done():
            await asyncio.wait([work])
    except asyncio.CancelledError:
        await given_up(work)
        raise
    work.result()


async def given_up(work: asyncio.Task[Any]) -> None:
    """Cancel work and wait for its end: what it has done by then is counted."""
    work.cancel()
    await asyncio.wait([work], timeout=GIVE_UP)
    if work.done() and not work.cancelled():
        work.exception()  # retrieved, or asyncio would log it


async def through(work: Coroutine[Any, Any, _T]) -> _T:
    """Do this even if asked to stop meanwhile; the request then takes effect at the next step.

    Asked a second time, it is given up.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        heard()
        result = await task
        stop_at_the_next_step()
        return result


async def in_thread(
    stop: threading.Event, work: Callable[[*_Arguments], _T], *arguments: *_Arguments
) -> _T:
    """Work in a thread that ends soon after `stop` is set, as a cancellation does.

    Does not return before the thread has ended: until then nothing else may use what it works on,
    and the process would wait for it anyway.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await ended(task)
        task.exception()  # retrieved, or asyncio would log it
        raise


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait for the end of something that does not take long, however often asked to stop."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
