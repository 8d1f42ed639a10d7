"""`reconciler backfill`: a pass over a window of stale rows; seen first, in pieces, and resumable.

The pass itself is the one of every mode. What is particular is around it: the outlook that is
told before anything is done, the lease that keeps two of them apart, and that the same command
goes on where the last one ended, however that ended. `planned` is its counterpart for a plan.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from reconciler.app.exclusive import exclusive
from reconciler.app.wiring import App, open_app
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Mode
from reconciler.core.ports import History, Lease, Observer
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.request import PassOptions, PassRequest
from reconciler.core.text import iso
from reconciler.core.window import EVERY, AgeSpread, Moment, Window
from reconciler.host.cancellation import run_to_completion
from reconciler.passes.lifecycle import reported
from reconciler.passes.observers import Bystander
from reconciler.plan.format import PlanHeader
from reconciler.plan.write import PlanWriter
from reconciler.postgres.connection.clock import host_time
from reconciler.postgres.table.mapping import MappedTable
from reconciler.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, beside the settings."""

    since: Moment | None = None
    until: Moment | None = None
    workflow_type: str | None = None
    apply: bool = False
    restart: bool = False
    limit: int | None = None
    max_changes: int | None = None
    #: Where a dry run is kept.
    output: Path | None = None

    def window(self, now: datetime) -> Window:
        """The rows to look at, if it is `now`. Raises `ConfigurationError` if there can be none."""
        window = Window(
            self.since.by(now) if self.since else None,
            self.until.by(now) if self.until else None,
            self.workflow_type,
        )
        if window.since and window.until and window.since >= window.until:
            given = f"--since {self.since} is not before --until {self.until}"
            raise ConfigurationError(f"{given}: no row could be in that window")
        return window

    def asked(self, settings: Settings) -> Mapping[str, Any]:
        """What makes two commands the same: what they look at, and what they would write."""
        # The bounds as given: an age is another time in each run, but it is the same command.
        return {
            "since": self.since and str(self.since),
            "until": self.until and str(self.until),
            "workflow_type": self.workflow_type,
            "missing": settings.missing.value,
            "mapping": settings.mapping_as_json(),
        }

    def options(self, settings: Settings) -> PassOptions:
        """The options of its pass."""
        return PassOptions(
            batch_size=settings.batch_size,
            concurrency=settings.concurrency,
            full_sweep_interval=settings.full_sweep_interval,
            limit=self.limit,
            max_changes=self.max_changes,
            pauses=True,
        )

    def new_report(self, asked: Mapping[str, Any], now: datetime) -> PassReport:
        """The report of a pass that begins now."""
        return PassReport.begin(PassRequest(Mode.BACKFILL, not self.apply, asked), now)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies ahead."""

    table: str
    #: What is still to be looked at, and how much of it this command will look at.
    ahead: AgeSpread
    rows: int
    apply: bool
    window: Window = EVERY
    #: Calls to Temporal per second; 0 for no limit, None where it is not asked.
    max_rps: float | None = None
    #: The pass that is gone on with, if an earlier command has left one.
    begun: PassReport | None = None
    #: When the plan was made that is to be written, if it is one.
    planned_at: datetime | None = None


class Desk(Protocol):
    """Whoever has given the command."""

    def agrees(self, outlook: Outlook) -> bool:
        """Tell what lies ahead; whether it is to be done."""
        ...

    def watch(self, outlook: Outlook) -> AbstractContextManager[Observer]:
        """Something that shows how the pass comes on."""
        ...


async def run_backfill(settings: Settings, request: Request, desk: Desk) -> PassReport | None:
    """Backfill a window; None if the operator did not want to after all.

    Raises `ConfigurationError`. A server that cannot be used, a request to stop and a lost lease
    are in the report, also where they come before the pass has begun.
    """
    report = request.new_report(request.asked(settings), host_time())
    run = _apply if request.apply else _dry_run
    with reported(report):
        return report if await run(settings, request, desk, report) else None
    return report


async def _dry_run(settings: Settings, request: Request, desk: Desk, report: PassReport) -> bool:
    async with _opened(settings, request) as app:
        if request.output is not None and request.output.suffix.lower() != ".csv":
            app.table.check_noted_key()
        now = await app.clock.read()
        window = request.window(now)
        with _kept(app, request, request.asked(settings), now) as keeping:
            outlook, _ = await _look_ahead(app, request, window, None)
            desk.agrees(outlook)
            with desk.watch(outlook) as watching:
                options, observers = request.options(settings), [*keeping, Bystander(watching)]
                await app.run_backfill(window, options, report, observers)
    return True


async def _apply(settings: Settings, request: Request, desk: Desk, report: PassReport) -> bool:
    async with _opened(settings, request) as app:
        app.table.check_noted_key()
        asked, options = request.asked(settings), request.options(settings)
        now = await app.clock.read()
        window = request.window(now)
        resumes = not request.restart
        same = PassRequest(Mode.BACKFILL, asked=asked)
        begun = await app.history.unfinished(same, app.table.read_id) if resumes else None
        outlook, progress = await _look_ahead(app, request, window, begun)
        if begun is not None:
            report.become(begun)
        if not desk.agrees(outlook):
            return False
        new = request.new_report({**asked, **_bounds(window)}, now)
        new.progress = None if begun else progress
        with desk.watch(outlook) as watching:
            lease = app.lease(Mode.BACKFILL)
            async with alone(app.history, lease, app.table, new, request, report):
                window = _window(request, report)
                await app.run_backfill(window, options, report, [Bystander(watching)])
    return True


def _opened(settings: Settings, request: Request) -> AbstractAsyncContextManager[App]:
    return open_app(
        settings,
        writing=request.apply,
        looping=request.apply,  # for the lease
        by_type=request.workflow_type is not None,
        ask_archive=True,
    )


@asynccontextmanager
async def alone(
    history: History,
    lease: Lease,
    table: MappedTable,
    new: PassReport,
    request: Request,
    report: PassReport,
) -> AsyncIterator[None]:
    """Make `report` that of the pass to resume, or `new`; keep other processes off it meanwhile."""
    # The bounds of the window are not compared: an age makes others of them in each run.
    given = (new.request.asked or {}).items()
    same = PassRequest(
        Mode.BACKFILL, asked={name: value for name, value in given if name not in _BOUNDS}
    )
    async with exclusive(lease, "a backfill or an undo", report):
        if request.restart:
            await history.give_up(same)
        # Uninterrupted: from here on the pass counts as running, and its end has to be recorded.
        begun = await run_to_completion(history.resume(same, table.read_id))
        report.become(new if begun is None else begun)
        yield


@contextmanager
def _kept(
    app: App, request: Request, asked: Mapping[str, Any], now: datetime
) -> Iterator[list[Observer]]:
    """What writes down a dry run that is to be kept."""
    if request.output is None:
        yield []
        return
    header = PlanHeader(
        table=app.table.scope,
        namespace=app.scope_namespace,
        running=app.table.mapping.statuses.running,
        made_at=now,
        window=asked,
    )
    with PlanWriter(request.output, header, app.old_values) as writer:
        yield [writer]


async def _look_ahead(
    app: App, request: Request, window: Window, begun: PassReport | None
) -> tuple[Outlook, Progress]:
    window = window if begun is None else _window(request, begun)
    store = app.store(window)
    progress = begun.progress if begun else None
    if progress is None:
        until = await store.last_running()
        progress = Progress(None if until is None else Span(None, until))
    rest = progress.rest
    ahead = AgeSpread() if rest is None else await store.count_running(rest)
    again = sum(span.to_recheck for span in progress.to_recheck)
    outlook = Outlook(
        table=app.table.scope,
        ahead=ahead,
        rows=min(ahead.rows, request.limit or ahead.rows) + again,
        apply=request.apply,
        window=window,
        max_rps=app.settings.max_rps,
        begun=begun,
    )
    return outlook, progress


_BOUNDS = ("from", "to")


def _bounds(window: Window) -> Mapping[str, Any]:
    return {"from": iso(window.since), "to": iso(window.until)}


def _window(request: Request, begun: PassReport) -> Window:
    """The window as it was when the pass began: an age must not move it from piece to piece."""
    bounds = [(begun.request.asked or {}).get(name) for name in _BOUNDS]
    since, until = (bound and datetime.fromisoformat(bound) for bound in bounds)
    return Window(since, until, request.workflow_type)
