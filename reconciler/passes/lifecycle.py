"""What every pass has in common: its beginning and its end are recorded, however it ends.

```
begin ──► run ──► correct by the journal ──► end in the history ──► observers
            │ cancelled: stop ──► cancelled again: give up the write under way
            └ Unusable, or a bug: the pass is aborted, and its report says why
```

Only this module sets `ended` and `duration_seconds` of a report, and `error` except by `stop`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from reconciler.core.errors import ReconcilerError, Unusable
from reconciler.core.observer import Observer
from reconciler.core.ports import Recording
from reconciler.core.report.pass_report import PassReport, Report
from reconciler.core.report.sweep import Swept
from reconciler.host.cancellation import (
    GIVE_UP,
    acknowledge_cancel,
    give_up,
    run_to_completion,
)
from reconciler.passes.observers import notify

log = structlog.get_logger(__name__)


async def run_recorded(
    report: Report,
    history: Recording,
    run: Callable[[Swept | None], Coroutine[None, None, None]],
    observers: Sequence[Observer] = (),
) -> None:
    """Run a pass; record its beginning and its end, and notify observers of both.

    `run` gets what the history knows of the last sweep. Requests to stop and errors meant for the
    operator are put in the report. So is a bug, which is then raised.
    """

    async def begin_and_run() -> None:
        # Once the beginning is recorded, the end has to be, too.
        swept = await run_to_completion(_begin(report, history, observers))
        await run(swept)

    await _end(report, history, observers, await _attempt(report, begin_and_run))


async def read_clock(
    report: PassReport,
    history: Recording,
    observers: Sequence[Observer],
    read: Callable[[], Awaitable[datetime]],
) -> datetime | None:
    """Read the time that a pass uses, before it begins; None if that failed or was stopped.

    In that case the pass has ended, and the report says why. Its end goes into the history only if
    the pass was resumed: the history does not know a new one yet.
    """
    now: datetime | None = None

    async def read_it() -> None:
        nonlocal now
        now = await read()
        if not report.resumed:
            report.started_at = now

    attempt = await _attempt(report, read_it)
    if now is None:
        await _end(report, history if report.resumed else None, observers, attempt)
    return now


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Put into the report what ends a command before or after its pass.

    That is an unusable server, or a request to stop, such as while connecting. A request to stop
    changes nothing once the pass has ended.
    """
    try:
        yield
    except Unusable as error:
        report.error = str(error)
    except asyncio.CancelledError:
        acknowledge_cancel()
        if not report.ended:
            report.stop()


@contextmanager
def absorb_first_cancel(report: Report) -> Iterator[None]:
    """Turn the first cancellation into a request to stop; let the second one through."""
    try:
        yield
    except asyncio.CancelledError:
        if report.stopped:
            raise
        acknowledge_cancel()
        report.stop()


async def finish_despite_cancel(report: Report, work: asyncio.Task[Any]) -> None:
    """Wait for work, even if a stop is requested meanwhile; give it up at the second request."""
    try:
        with absorb_first_cancel(report):
            await asyncio.wait([work])
        # `asyncio.wait` suspends even if the task is done. A first request that arrived there would
        # be taken for the second.
        if not work.done():
            await asyncio.wait([work])
    except asyncio.CancelledError:
        log.warning("write_given_up", hint="asked to stop a second time")
        await give_up(work)
        raise
    work.result()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How work ended."""

    bug: Exception | None = None
    #: A second request to stop gave up what was under way.
    gave_up: bool = False


async def _attempt(report: Report, work: Callable[[], Coroutine[None, None, None]]) -> _Attempt:
    attempt = _Attempt()
    started = time.monotonic()
    try:
        with absorb_first_cancel(report):
            await work()
    except ReconcilerError as error:
        report.error = str(error)
    except asyncio.CancelledError:
        acknowledge_cancel()
        attempt = _Attempt(gave_up=True)
    except Exception as error:
        attempt = _Attempt(bug=error)
        report.error = f"internal error: {error!r}"
    report.duration_seconds += time.monotonic() - started
    return attempt


async def _begin(report: Report, history: Recording, observers: Sequence[Observer]) -> Swept | None:
    swept = None if report.request.dry_run else await history.begin(report)
    if isinstance(report, PassReport):
        await notify(observers, lambda observer: observer.on_start(report))
    return swept


async def _end(
    report: Report, history: Recording | None, observers: Sequence[Observer], attempt: _Attempt
) -> None:
    """Record the end; raise the first bug, that of the pass before any in recording its end."""
    report.ended = True
    ending = asyncio.create_task(_record_end(report, history, observers))
    bugs = await _wait_for_end(ending, gave_up=attempt.gave_up)
    for bug in filter(None, [attempt.bug, *bugs]):
        raise bug


async def _record_end(
    report: Report, history: Recording | None, observers: Sequence[Observer]
) -> list[Exception]:
    """Record the end and notify the observers; returns the bugs that came up."""
    bugs: list[Exception] = []

    async def survive(step: Awaitable[None]) -> None:
        try:
            await step
        except Unusable as error:
            report.error = report.error or str(error)
        except Exception as error:
            bugs.append(error)

    if history is not None and not report.request.dry_run:
        await survive(_end_in_history(report, history))
    if isinstance(report, PassReport):
        await survive(notify(observers, lambda observer: observer.on_pass(report)))
    return bugs


async def _end_in_history(report: Report, history: Recording) -> None:
    if report.error is not None:
        # Only the journal knows whether a write that was cut off has been committed.
        written = await history.written(report.pass_id)
        if written is not None:
            report.correct(written)
    await history.end(report)


async def _wait_for_end(ending: asyncio.Task[list[Exception]], *, gave_up: bool) -> list[Exception]:
    """Wait for the end to be recorded; only `GIVE_UP` seconds after a request to stop.

    Nothing is left that could be stopped, so that a first request is not raised.
    """
    try:
        await asyncio.wait([ending], timeout=GIVE_UP if gave_up else None)
    except asyncio.CancelledError:
        acknowledge_cancel()
        if not gave_up:
            return await _wait_for_end(ending, gave_up=True)
    if not ending.done():
        await give_up(ending)
    return [] if ending.cancelled() or not ending.done() else ending.result()
