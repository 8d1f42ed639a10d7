"""The notices of one worker that are not settled yet: bounded in number, time and calls.

Whatever goes wrong here leaves the row to the reconciler; nothing reaches the workflow or the
worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from functools import partial

from temporalio.client import Client

from reconciler.core.errors import (
    DatabaseUnfit,
    DatabaseUnusable,
    TemporalUnfit,
    TemporalUnusable,
)
from reconciler.core.model import Finish, Leave, LeaveReason
from reconciler.core.text import one_line, plural
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.worker.after_close.finisher import Finisher
from reconciler.worker.after_close.notice import EndNotice
from reconciler.worker.database.sources import Sources
from reconciler.worker.database.writer import RowWriter

#: Notices that wait; others are dropped.
MAX_WAITING = 10_000
#: Notices that are asked about at the same time, and as many that are written.
MAX_CONCURRENT = 16
#: Seconds before each look at a run that is about to close: the worker has not even sent its
#: completion when the function ends.
LOOKS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
#: Seconds before each further try to find or write the row.
WRITES = (0.0, 1.0, 5.0, 30.0)
#: Seconds after which a run is looked at again before its row is written: it may have been reset.
MAX_AGE = 2.0
#: Calls to Temporal per second, as passes make by default: they outrank the polls of workers.
MAX_RPS = 100
#: Seconds that a worker's shutdown waits for what is not settled.
DRAIN_TIMEOUT = 5.0

_log = logging.getLogger("reconciler.worker")
_WAIT_ON = (LeaveReason.OPEN, LeaveReason.UNKNOWN)


def open_backlogs(
    client: Callable[[], Client],
    sources: Sources,
    opened: Callable[[str], RowWriter],
    targets: Iterable[str],
) -> Mapping[str, Backlog]:
    """The backlog of each target of a worker, in the current event loop.

    Apart, so that a database that hangs holds up no other. Together they make no more calls to
    Temporal than one would. `client`, `opened`: see `Finisher`. Raises `ConfigurationError`.
    """
    limiter = RateLimiter(MAX_RPS)
    return {
        each: Backlog(Finisher(client, sources.of(each), partial(opened, each), limiter))
        for each in targets
    }


class Backlog:
    """Settles notices, each in a task of its own, in the event loop in which it was made."""

    def __init__(self, finisher: Finisher) -> None:
        self._finisher = finisher
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # not that of a workflow
        # Apart, or after a burst each write would wait for the looks at all other runs.
        self._looks = asyncio.Semaphore(MAX_CONCURRENT)
        self._writes = asyncio.Semaphore(MAX_CONCURRENT)
        self._draining = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # The last notice of each run: the function of a run may end several times.
        self._latest: dict[str, EndNotice] = {}
        self._problem = ""
        self._is_full = False

    def take(self, notice: EndNotice) -> None:
        """Settle this notice soon. Can be called in any thread, and never raises or waits."""
        with contextlib.suppress(RuntimeError):  # the event loop has been closed
            self._loop.call_soon_threadsafe(self._add, notice, context=self._context)

    async def close(self) -> None:
        """Settle what is left within a limit. The worker must have stopped."""
        await self._drain()
        await self._finisher.close()

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # what was taken last is added first
        self._draining.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_TIMEOUT)
        if self._tasks:
            left = plural(len(self._tasks), "workflow end")
            _log.warning("the worker has stopped, and leaves %s to the reconciler", left)
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _add(self, notice: EndNotice) -> None:
        if not self._tasks:
            self._is_full = False
            self._finisher.start_round()
        if len(self._tasks) >= MAX_WAITING:
            if not self._is_full:
                self._is_full = True
                waiting = plural(MAX_WAITING, "workflow end")
                _log.warning("%s wait to be written: more are left to the reconciler", waiting)
            return
        self._latest[notice.run_id] = notice
        task = self._loop.create_task(self._settle(notice))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, notice: EndNotice) -> None:
        try:
            if (finish := await self._closed(notice)) is not None:
                await self._write(notice, finish)
        except Exception as error:  # noqa: BLE001 - other people's database, codec and listeners
            self._log_unwritten(notice, error)
        finally:
            if self._is_latest(notice):
                del self._latest[notice.run_id]

    async def _closed(self, notice: EndNotice) -> Finish | None:
        """What to write once the run has closed; None if nothing is, or if it does not close."""
        for pause in LOOKS:
            await asyncio.sleep(pause)
            if not self._is_latest(notice):
                return None
            try:
                async with self._looks:
                    verdict = await self._finisher.look(notice)
            except TemporalUnfit:
                raise
            except TemporalUnusable as error:
                self._log_unwritten(notice, error)
                continue
            if isinstance(verdict, Leave) and verdict.reason in _WAIT_ON:
                continue
            return verdict if isinstance(verdict, Finish) else None
        _log.debug("workflow %s has not closed", notice.workflow_id)
        return None

    async def _write(self, notice: EndNotice, finish: Finish) -> None:
        """Write the row; try again if there is none yet, or if the database cannot be used."""
        looked = self._loop.time()
        for pause in WRITES:
            with contextlib.suppress(TimeoutError):  # a last try when the worker stops
                await asyncio.wait_for(self._draining.wait(), pause)
            try:
                async with self._writes:
                    if self._loop.time() - looked > MAX_AGE:
                        verdict = await self._finisher.look(notice)
                        if not isinstance(verdict, Finish):
                            return
                        finish, looked = verdict, self._loop.time()
                    is_found = await self._finisher.write(notice, finish)
            except DatabaseUnfit:
                raise
            except (DatabaseUnusable, TemporalUnusable) as error:
                self._log_unwritten(notice, error)
                is_found = False
            else:
                self._problem = ""
            if is_found or self._draining.is_set():
                return
        _log.debug("workflow %s has no row that can be written", notice.workflow_id)

    def _is_latest(self, notice: EndNotice) -> bool:
        return self._latest.get(notice.run_id) is notice

    def _log_unwritten(self, notice: EndNotice, error: Exception) -> None:
        """Log a problem once until a row can be written again."""
        text = one_line(str(error) or type(error).__name__, 1_000)
        if text == self._problem:
            return
        self._problem = text
        _log.warning(
            "the end of workflow %s could not be written to its row; the reconciler will do it: %s",
            one_line(notice.workflow_id, 200),
            text,
        )
