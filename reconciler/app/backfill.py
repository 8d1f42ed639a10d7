"""`reconciler backfill`: a pass over a window of stale rows, previewed first and resumable.

The pass is the same as in every mode. This module adds the preview, the lease that keeps two
backfills apart, and resuming: the same command continues where the last one ended. `apply_plan`
does the same for a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from reconciler.app.app import App
from reconciler.app.hold_lease import resume_or_start
from reconciler.app.wiring import open_app
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Mode
from reconciler.core.observer import Observer
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.text import iso
from reconciler.core.window import EVERY, AgeSpread, Moment, Window
from reconciler.passes.lifecycle import reported
from reconciler.passes.observers import Bystander
from reconciler.plan.format import PlanHeader
from reconciler.plan.write import PlanWriter
from reconciler.postgres.connection.clock import host_time
from reconciler.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command, beside the settings."""

    since: Moment | None = None
    until: Moment | None = None
    workflow_type: str | None = None
    apply: bool = False
    restart: bool = False
    limit: int | None = None
    max_changes: int | None = None
    #: The file to keep a dry run in: a plan, or a table if it ends in .csv.
    output: Path | None = None

    def window(self, now: datetime) -> Window:
        """The rows to look at. Raises `ConfigurationError` if there can be none."""
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
        """What makes two commands the same: the rows they look at, and what they would write.

        Bounds are as given: the same age is a different time in each run.
        """
        return {
            "since": self.since and str(self.since),
            "until": self.until and str(self.until),
            "workflow_type": self.workflow_type,
            "missing": settings.missing.value,
            "mapping": settings.mapping_as_json(),
        }

    def options(self, settings: Settings) -> PassOptions:
        """The options of the pass."""
        return PassOptions(
            batch_size=settings.batch_size,
            concurrency=settings.concurrency,
            full_sweep_interval=settings.full_sweep_interval,
            limit=self.limit,
            max_changes=self.max_changes,
            pauses=True,
        )

    def new_report(self, asked: Mapping[str, Any], now: datetime) -> PassReport:
        """The report of a new pass."""
        return PassReport.begin(PassRequest(Mode.BACKFILL, not self.apply, asked), now)


@dataclass(frozen=True, slots=True)
class Preview:
    """What the operator is shown before the pass begins."""

    table: str
    #: The rows that remain, and how many of them this command will look at.
    ahead: AgeSpread
    rows: int
    apply: bool
    window: Window = EVERY
    #: Calls to Temporal per second; 0 means no limit, None that Temporal is not asked.
    max_rps: float | None = None
    #: The pass to resume, if an earlier command has left one.
    begun: PassReport | None = None
    #: When the plan was made, if one is to be written.
    planned_at: datetime | None = None


class Operator(Protocol):
    """The person or script that gave the command."""

    def confirm(self, preview: Preview) -> bool:
        """Show the preview; return whether to go ahead."""
        ...

    def show_progress(self, preview: Preview) -> AbstractContextManager[Observer]:
        """An observer that shows the progress of the pass."""
        ...


async def run_backfill(
    settings: Settings, request: Request, operator: Operator
) -> PassReport | None:
    """Backfill a window; None if the operator did not confirm.

    Raises `ConfigurationError`. An unusable server, a request to stop and a lost lease are in the
    report, even if they come before the pass has begun.
    """
    report = request.new_report(request.asked(settings), host_time())
    run = _apply if request.apply else _dry_run
    with reported(report):
        async with open_app(
            settings,
            writing=request.apply,
            dry_run=not request.apply,
            looping=request.apply,  # for the lease
            by_type=request.workflow_type is not None,
            ask_archive=True,
        ) as app:
            return report if await run(app, request, operator, report) else None
    return report


async def _dry_run(app: App, request: Request, operator: Operator, report: PassReport) -> bool:
    if request.output is not None and request.output.suffix.lower() != ".csv":
        app.table.key.check_notable(app.table.full_name)
    now = await app.clock.read()
    window = request.window(now)
    with _plan_writer(app, request, now) as writer:
        preview, _ = await preview_of(app, request, window, None)
        operator.confirm(preview)
        with operator.show_progress(preview) as progress:
            observers = [writer, Bystander(progress)]
            await app.run_backfill(window, request.options(app.settings), report, observers)
    return True


async def _apply(app: App, request: Request, operator: Operator, report: PassReport) -> bool:
    app.table.key.check_notable(app.table.full_name)
    asked = request.asked(app.settings)
    same, read_id = PassRequest(Mode.BACKFILL, asked=asked), app.table.read_id
    now = await app.clock.read()
    window = request.window(now)
    begun = None if request.restart else await app.history.unfinished(same, read_id)
    preview, progress = await preview_of(app, request, window, begun)
    if begun is not None:
        report.become(begun)
    if not operator.confirm(preview):
        return False
    new = request.new_report({**asked, **bounds(window)}, now)
    new.progress = None if begun else progress
    with operator.show_progress(preview) as shown:
        lease, restart = app.lease(Mode.BACKFILL), request.restart
        async with resume_or_start(app.history, lease, same, read_id, new, report, restart=restart):
            window, options = _window(request, report), request.options(app.settings)
            await app.run_backfill(window, options, report, [Bystander(shown)])
    return True


def _plan_writer(app: App, request: Request, now: datetime) -> AbstractContextManager[Observer]:
    """The observer that keeps the dry run, if it is to be kept."""
    if request.output is None:
        return nullcontext(Observer())
    header = PlanHeader(
        table=app.table.scope,
        namespace=app.scope_namespace,
        running=app.table.mapping.statuses.running,
        made_at=now,
        window=request.asked(app.settings),
        target=app.settings.target or None,
    )
    return PlanWriter(request.output, header, app.old_values)


async def preview_of(
    app: App, request: Request, window: Window, begun: PassReport | None
) -> tuple[Preview, Progress]:
    """What the operator is shown, and what the pass, `begun` or not, has still to do."""
    window = window if begun is None else _window(request, begun)
    store = app.store(window)
    progress = begun.progress if begun else None
    if progress is None:
        until = await store.last_running()
        progress = Progress(None if until is None else Span(None, until))
    rest = progress.rest
    ahead = AgeSpread() if rest is None else await store.count_running(rest)
    again = sum(span.to_recheck for span in progress.to_recheck)
    preview = Preview(
        table=app.table.scope,
        ahead=ahead,
        rows=min(ahead.rows, request.limit or ahead.rows) + again,
        apply=request.apply,
        window=window,
        max_rps=app.settings.max_rps,
        begun=begun,
    )
    return preview, progress


_BOUNDS = ("from", "to")


def bounds(window: Window) -> Mapping[str, Any]:
    """What is recorded of a window, for a pass that is resumed."""
    return {"from": iso(window.since), "to": iso(window.until)}


def _window(request: Request, begun: PassReport) -> Window:
    """The window as of the pass's beginning: an age must not move it when it is resumed."""
    given = [(begun.request.asked or {}).get(name) for name in _BOUNDS]
    since, until = (bound and datetime.fromisoformat(bound) for bound in given)
    return Window(since, until, request.workflow_type)
