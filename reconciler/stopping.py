"""A pass that is cancelled stops at a good place instead of where it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator

from reconciler.core.report import Report


@contextlib.contextmanager
def stopping(report: Report) -> Iterator[None]:
    """Take the first cancellation for the request to stop that it is; the second one counts."""
    try:
        yield
    except asyncio.CancelledError:
        if report.stopped:
            raise
        if task := asyncio.current_task():
            task.uncancel()
        report.stop()


async def finished(report: Report, work: asyncio.Task[None]) -> None:
    """Wait for what has been begun to be done, even if the pass is stopped meanwhile."""
    try:
        with stopping(report):
            await asyncio.wait([work])
        await asyncio.wait([work])
    finally:
        work.cancel()  # a second request to stop
    work.result()


async def through(ending: Coroutine[None, None, None]) -> None:
    """Do this even if asked to stop meanwhile; asked a second time, end at once."""
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
