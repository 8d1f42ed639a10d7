"""`reconciler backfill --distribute`: starts a backfill on many machines, and follows it.

The preview, the question and the report are those of a backfill on one machine, see
`app.backfill`. What differs is who goes through the rows.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import datetime
from typing import Protocol, Self

from reconciler.app.app import App
from reconciler.app.backfill import Operator, Preview, Request, bounds, preview_of
from reconciler.app.wiring import open_app
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Mode
from reconciler.core.observer import Observer
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span
from reconciler.core.report.request import PassRequest
from reconciler.core.window import AgeSpread
from reconciler.fleet.follow import Follower
from reconciler.fleet.messages import Backfill, FleetProgress, Speed, ranges_per_run
from reconciler.fleet.previewed import preview as previewed
from reconciler.fleet.started import Fleet, Running, same, speed_of
from reconciler.fleet.totals import Totals, report_of
from reconciler.fleet.under_way import UnderWay
from reconciler.passes.lifecycle import reported
from reconciler.passes.observers import Bystander
from reconciler.postgres.connection.clock import host_time
from reconciler.settings.model import Settings

#: What is said to who does not wait for the end.
GOES_ON = (
    "the backfill goes on without this command: repeat it to follow the backfill again; "
    "to stop the backfill: {stop}"
)
CANCELLED = "the backfill is cancelled, and ends without this command"


class Follows(Operator, Protocol):
    """The person or script that gave the command, and may leave before the end."""

    def note(self, line: str) -> None:
        """Show a line."""
        ...


async def run_distributed(
    settings: Settings, request: Request, workers: int, operator: Follows
) -> PassReport | None:
    """Start a backfill and follow it, or follow the one of this request that is under way.

    None if the operator did not confirm. Raises as `run_backfill` does.
    """
    _check(settings, request, workers)
    report = request.new_report(request.asked(settings), host_time())
    with reported(report):
        async with open_app(
            settings,
            writing=request.apply,
            dry_run=not request.apply,
            looping=request.apply,  # for the lease
            by_type=request.workflow_type is not None,
        ) as app:
            command = _Command(app, request, operator, Fleet(app))
            running = await command.running(workers) or await command.start(workers)
            if running is None:
                return None
            report.become(await command.follow(running))
    return report


async def cancel_distributed(settings: Settings, operator: Follows) -> PassReport:
    """Stop the backfill that is under way, and return the report of what it has done.

    Raises `ConfigurationError` if there is none. An unusable server is in the report.
    """
    report = Request().new_report({}, host_time())
    with reported(report):
        async with open_app(settings, writing=False) as app:
            fleet = Fleet(app)
            running = await fleet.running()
            if running is None:
                raise ConfigurationError(
                    f"no backfill on many machines is under way on {app.table.scope}",
                    "`reconciler passes` shows what has ended",
                )
            await fleet.cancel(running)
            command = _Command(app, Request(apply=not running.dry_run), operator, fleet)
            report.become(await command.follow(running, CANCELLED))
    return report


def _check(settings: Settings, request: Request, workers: int) -> None:
    """Raise `ConfigurationError` if no worker could do it."""
    if 0 < settings.max_rps < workers:
        raise ConfigurationError(
            f"--distribute {workers} needs a call to Temporal per second for each range, and "
            f"--max-rps is {settings.max_rps:g} for all of them",
            "raise that, or lower --distribute",
        )
    if request.apply and not settings.journal:
        raise ConfigurationError(
            "--distribute needs the schema reconciler, and RECONCILER_JOURNAL is off",
            "set it to on, or leave out --distribute",
        )


class _Command:
    def __init__(self, app: App, request: Request, operator: Follows, fleet: Fleet) -> None:
        self._app, self._request, self._operator, self._fleet = app, request, operator, fleet
        self._asked = {**request.asked(app.settings), "dry_run": not request.apply}

    @property
    def _cancelling(self) -> str:
        """The command that stops it."""
        target = self._app.settings.target
        return f"reconciler backfill --cancel{f' --target {target}' if target else ''}"

    async def running(self, workers: int) -> Running | None:
        """The backfill that this command has started before, to follow it.

        Raises `ConfigurationError` if another one is under way.
        """
        running = await self._fleet.running()
        if running is not None and not same(running.asked, self._asked):
            raise ConfigurationError(
                f"a backfill with other options is under way on {self._app.table.scope}, "
                f"as workflow {self._fleet.workflow_id}",
                f"give its own options to follow it, or stop it: {self._cancelling}",
            )
        if running is not None and running.speed != speed_of(self._speed(workers)):
            options = " ".join(f"{name} {value:g}" for name, value in running.speed.items())
            self._operator.note(f"the backfill was started with {options}, and keeps that speed")
        return running

    def _speed(self, workers: int) -> Speed:
        settings = self._app.settings
        return Speed(
            workers,
            settings.max_rps,
            settings.visibility_rps,
            settings.batch_size,
            settings.concurrency,
            ranges_per_run=ranges_per_run(workers),
        )

    async def start(self, workers: int) -> Running | None:
        """Start one, if the operator confirms."""
        app, request = self._app, self._request
        if request.apply:
            app.table.key.check_notable(app.table.full_name)
        window = request.window(await app.clock.read())
        shown, _ = await preview_of(app, request, window, None)
        if not self._operator.confirm(shown):
            return None
        speed = self._speed(workers)
        recorded = {**request.asked(app.settings), **bounds(window), "distribute": workers}
        backfill = Backfill(await previewed(app, window), speed, not request.apply, recorded)
        return await self._fleet.start(backfill, self._asked)

    async def follow(self, running: Running, left: str = GOES_ON) -> PassReport:
        """Show its progress until its end; returns its report. `left`: said to who leaves."""
        self._operator.note(f"workflow {self._fleet.workflow_id} ({self._fleet.where})")
        request = PassRequest(Mode.BACKFILL, running.dry_run)
        try:
            with _Shown(self._operator, request, self._app.table.scope) as shown:
                result = await Follower(running.handle, self._fleet.where, shown.show).run()
        except asyncio.CancelledError:
            self._operator.note(left.format(stop=self._cancelling))
            raise
        pass_id, began = result.report["pass_id"], result.report["started_at"]
        return report_of(result, pass_id, request, datetime.fromisoformat(began))


class _Shown:
    """The progress bar, from the first time that the number of rows is known."""

    def __init__(self, operator: Operator, request: PassRequest, table: str) -> None:
        self._operator, self._request, self._table = operator, request, table
        self._bar: Observer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def show(self, progress: FleetProgress, ranges: UnderWay) -> None:
        """Move the bar."""
        if not progress.rows:
            return
        totals = Totals(progress.totals)
        for tally in ranges.tallies:
            if progress.is_second:
                totals.aside.second.add_ends(tally)
            else:
                totals.done.add(tally)
        report = totals.as_report(progress.pass_id, self._request, host_time())
        if report.progress is not None and not progress.is_second:
            report.progress.rest = Span(None, 0)  # the second look is not due yet
        if self._bar is None:
            rows = max(progress.rows - report.tally.scanned, 0)
            apply = not self._request.dry_run
            preview = Preview(self._table, AgeSpread(rows), rows, apply)
            bar = self._stack.enter_context(self._operator.show_progress(preview))
            self._bar = Bystander(bar)
            await self._bar.on_start(report)
        await self._bar.on_page(report, ())
