"""Cancelling asyncio tasks at a good place instead of wherever they are."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

#: Seconds that work has to end once it is given up.
GIVE_UP = 5.0

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


def acknowledge_cancel() -> None:
    """A cancellation has been dealt with: the task is no longer being cancelled."""
    if task := asyncio.current_task():
        while task.uncancel():
            pass


def cancel_at_next_await() -> None:
    """Put a cancellation off until the task waits for something."""
    if task := asyncio.current_task():
        acknowledge_cancel()
        task.cancel()


async def give_up(work: asyncio.Task[Any]) -> None:
    """Cancel work and wait for its end: what it has done by then is counted."""
    work.cancel()
    await asyncio.wait([work], timeout=GIVE_UP)
    if work.done() and not work.cancelled():
        work.exception()  # retrieved, or asyncio would log it


async def run_to_completion(work: Coroutine[Any, Any, _T]) -> _T:
    """Do this even if asked to stop meanwhile; the request then takes effect at the next step.

    Asked a second time, it is given up.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        acknowledge_cancel()
        result = await task
        cancel_at_next_await()
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
        await wait_until_done(task)
        task.exception()  # retrieved, or asyncio would log it
        raise


async def wait_until_done(work: asyncio.Future[Any]) -> None:
    """Wait for the end of something that does not take long, however often asked to stop."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
