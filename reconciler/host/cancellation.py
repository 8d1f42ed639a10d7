"""Cancelling asyncio tasks at a safe point."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

#: Seconds for work to end once it is given up.
GIVE_UP = 5.0

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


def is_cancelled() -> bool:
    """Whether this task has been asked to end, and has not acknowledged it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def acknowledge_cancel() -> None:
    """Mark the cancellation of this task as handled."""
    if task := asyncio.current_task():
        while task.uncancel():
            pass


def cancel_at_next_await() -> None:
    """Postpone a cancellation until the task awaits something."""
    if task := asyncio.current_task():
        acknowledge_cancel()
        task.cancel()


async def give_up(work: asyncio.Task[Any]) -> None:
    """Cancel work and wait for its end, so that what it has done is counted."""
    work.cancel()
    await asyncio.wait([work], timeout=GIVE_UP)
    if work.done() and not work.cancelled():
        work.exception()  # retrieved, or asyncio would log it


async def run_to_completion(work: Coroutine[Any, Any, _T]) -> _T:
    """Finish this even if cancelled; the cancellation then takes effect at the next await.

    A second cancellation gives it up.
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
    """Run `work` in a thread. A cancellation sets `stop`, after which the work must end soon.

    Returns only after the thread has ended: until then nothing else may use what it works on, and
    the process would wait for it anyway.
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
    """Wait for short work, however often this task is cancelled."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
