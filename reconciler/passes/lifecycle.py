"""What frames every pass: its beginning and its end are recorded, however it ends.

```
begin ──► run ──► correct by the journal ──► end in the history ──► observers
            │ cancelled: stop ──► cancelled again: give up the write under way
            └ Unusable, or a bug: the pass is aborted, and its report says why
```

Only this module writes `error`, `ended` and `duration_seconds` of a report.
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
from reconciler.core.ports import History, Observer
from reconciler.core.report import PassReport, Report
from reconciler.core.sweep import Swept
from reconciler.host.cancellation import (
    GIVE_UP,
    acknowledge_cancel,
    give_up,
    run_to_completion,
)
from reconciler.passes.observers import notify

log = structlog.get_logger(__name__)


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
    """Wait for work, even if the pass is stopped meanwhile; stopped again, give it up."""
    try:
        with absorb_first_cancel(report):
            await asyncio.wait([work])
        # `asyncio.wait` suspends even for a finished task: a first request to stop that arrives
        # there would be taken for the second.
        if not work.done():
            await asyncio.wait([work])
    except asyncio.CancelledError:
        log.warning("write_given_up", hint="asked to stop a second time")
        await give_up(work)
        raise
    work.result()


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Let what ends a command around its pass end up in the pass's report, too.

    Such as a server that cannot be used, or a request to stop while connecting, before the pass
    has begun; one that comes after its end changes nothing.
    """
    try:
        yield
    except Unusable as error:
        report.error = str(error)
    except asyncio.CancelledError:
        acknowledge_cancel()
        if not report.ended:
            report.stop()


async def run_recorded(
    report: Report,
    history: History,
    run: Callable[[Swept | None], Coroutine[None, None, None]],
    observers: Sequence[Observer] = (),
) -> None:
    """Run a pass; record its beginning and its end, and notify observers of both.

    `run` gets what the history knows of the last sweep. Requests to stop, and errors meant for the
    operator, end up in the report. So does a bug, which is then raised.
    """

    async def whole() -> None:
        # Once its beginning is recorded, its end has to be, too.
        swept = await run_to_completion(_begin(report, history, observers))
        await run(swept)

    await _end(report, history, observers, await _attempt(report, whole))


async def read_clock(
    report: PassReport,
    history: History,
    observers: Sequence[Observer],
    read: Callable[[], Awaitable[datetime]],
) -> datetime | None:
    """The time that a pass uses, read before it begins; None if that failed or was stopped.

    Then the pass has ended, and the report says why. The history only knows a pass that is resumed.
    """
    now: datetime | None = None

    async def reads() -> None:
        nonlocal now
        now = await read()
        if not report.resumed:
            report.started_at = now

    attempt = await _attempt(report, reads)
    if now is None:
        await _end(report, history if report.resumed else None, observers, attempt)
    return now


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How work came to its end."""

    bug: Exception | None = None
    #: It was asked to stop a second time: what was under way has been given up.
    at_once: bool = False


async def _attempt(report: Report, work: Callable[[], Coroutine[None, None, None]]) -> _Attempt:
    started, attempt = time.monotonic(), _Attempt()
    try:
        with absorb_first_cancel(report):
            await work()
    except ReconcilerError as error:
        report.error = str(error)
    except asyncio.CancelledError:
        acknowledge_cancel()
        attempt = _Attempt(at_once=True)
    except Exception as error:
        attempt = _Attempt(bug=error)
        report.error = f"internal error: {error!r}"
    report.duration_seconds += time.monotonic() - started
    return attempt


async def _begin(report: Report, history: History, observers: Sequence[Observer]) -> Swept | None:
    swept = None if report.request.dry_run else await history.begin(report)
    if isinstance(report, PassReport):
        await notify(observers, lambda observer: observer.on_start(report))
    return swept


async def _end(
    report: Report, history: History | None, observers: Sequence[Observer], attempt: _Attempt
) -> None:
    """Record the end; raise the first bug, the pass's or one of an observer's."""
    report.ended = True
    ending = asyncio.create_task(_record_end(report, history, observers))
    bugs = await _wait_for_end(ending, at_once=attempt.at_once)
    for bug in filter(None, [attempt.bug, *bugs]):
        raise bug


async def _record_end(
    report: Report, history: History | None, observers: Sequence[Observer]
) -> list[Exception]:
    """Record the end and notify all observers; returns the bugs of those that failed."""
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


async def _end_in_history(report: Report, history: History) -> None:
    if report.error is not None:
        # Of a write that was cut off, only the journal knows what became.
        written = await history.written(report.pass_id)
        if written is not None:
            report.correct(written)
    await history.end(report)


async def _wait_for_end(ending: asyncio.Task[list[Exception]], *, at_once: bool) -> list[Exception]:
    """Wait for the end to be recorded; not for long once the pass is asked to stop.

    There is nothing left to be stopped: such a request is dealt with, but for a second one.
    """
    try:
        await asyncio.wait([ending], timeout=GIVE_UP if at_once else None)
    except asyncio.CancelledError:
        acknowledge_cancel()
        if not at_once:
            return await _wait_for_end(ending, at_once=True)
    if not ending.done():
        await give_up(ending)
    return [] if ending.cancelled() or not ending.done() else ending.result()
