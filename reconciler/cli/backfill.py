"""`reconciler backfill`: options in, a report out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.base import OK, AsJson, agreed, cli, conclude, load, readable, refuse
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.core.report import PassReport
from reconciler.core.verdict import MissingPolicy
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.app.backfill import Preview, Request
    from reconciler.core.ports import Observer
    from reconciler.core.window import Moment
    from reconciler.settings.model import Settings

_Moment = "a timestamp (UTC), or an age such as 90d, 12h"
_EXCLUSIVE = (
    ("--apply", "--dry-run"),
    ("--apply", "--output"),
    # Such a plan would hold rows that the dry run has not come to count.
    ("--max-changes", "--output"),
    ("--force", "--max-missing-ratio"),
    # The plan has chosen and judged already.
    *(
        ("--plan", option)
        for option in (
            *("--since", "--until", "--workflow-type"),
            *("--missing", "--max-missing-ratio", "--max-rps", "--concurrency"),
        )
    ),
)
_NEEDS = (("--restart", "--apply"), ("--plan", "--apply"), ("--yes", "--apply"))


_Apply = Annotated[bool, typer.Option("--apply", help="Write. Default: a dry run.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing: the default.")]
_Since = Annotated[str | None, typer.Option(metavar="WHEN", help=f"Rows created since: {_Moment}.")]
_Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Rows created before: the same.")]
_Type = Annotated[str | None, typer.Option(metavar="TYPE", help="Only rows of this type.")]
_Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Look at N rows at most.")]
_MaxChanges = Annotated[int | None, typer.Option(min=1, metavar="N", help="Write N rows at most.")]
_Missing = Annotated[
    str | None,
    typer.Option(metavar="leave|fail", help="Rows Temporal does not know [RECONCILER_MISSING]."),
]
_Ratio = Annotated[
    float | None, typer.Option(metavar="RATIO", help="Hold missing rows back above this share.")
]
_Force = Annotated[bool, typer.Option("--force", help="Hold no missing rows back, however many.")]
_MaxRps = Annotated[float | None, typer.Option(metavar="N", help="Calls to Temporal per second.")]
_Concurrency = Annotated[int | None, typer.Option(metavar="N", help="Rows asked about at once.")]
_Output = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep the dry run: a plan, .jsonl, or .csv.")
]
_Plan = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --apply: write exactly this plan.")
]
_Restart = Annotated[bool, typer.Option("--restart", help="Start over instead of resuming.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")]


@cli.command(
    epilog="""\b
Examples:
  reconciler backfill --until 1d                       a dry run: how many rows, and what of them
  reconciler backfill --until 1d --output plan.jsonl   the same, and keep each row in a file
  reconciler backfill --apply --plan plan.jsonl        write exactly that
  reconciler backfill --until 1d --apply               or judge and write at once

Exit code 3 also means that a limit was reached and rows are left. More: docs/backfill.md"""
)
def backfill(
    apply: _Apply = False,
    dry_run: _DryRun = False,
    since: _Since = None,
    until: _Until = None,
    workflow_type: _Type = None,
    limit: _Limit = None,
    max_changes: _MaxChanges = None,
    missing: _Missing = None,
    max_missing_ratio: _Ratio = None,
    force: _Force = False,
    max_rps: _MaxRps = None,
    concurrency: _Concurrency = None,
    output: _Output = None,
    plan: _Plan = None,
    restart: _Restart = False,
    yes: _Yes = False,
    as_json: AsJson = False,
) -> int:
    """Repair years of stale rows: a dry run first, then --apply.

    The same command resumes where the last one ended: by Ctrl-C, kill -9, a lost connection,
    --limit or --max-changes.
    """
    rates = {"max_rps": max_rps, "concurrency": concurrency}
    judging = {"missing": missing, "max_missing_ratio": max_missing_ratio, **rates}
    choosing = {"since": since, "until": until, "workflow_type": workflow_type}
    limits = {"limit": limit, "max_changes": max_changes, "output": output}
    flags = {"--apply": apply, "--dry-run": dry_run, "--restart": restart, "--force": force}
    _check_options({**judging, **choosing, **limits, "plan": plan}, {**flags, "--yes": yes})
    request = _request(choosing, apply=apply, restart=restart, **limits)
    if force:
        judging["max_missing_ratio"] = 1.0
    settings = _settings(judging, request, force=force and plan is None)
    terminal = _Terminal(asks=apply and not yes)
    report = signals.run(partial(_backfill, settings, request, plan, terminal, force=force))
    if report is not None:
        return conclude(report, partial(_print, report, output, settings, as_json=as_json))
    refuse("nothing was written")
    return OK


def _request(choosing: Mapping[str, str | None], **others: Any) -> Request:
    from reconciler.app.backfill import Request

    request = Request(
        since=_moment("--since", choosing["since"]),
        until=_moment("--until", choosing["until"]),
        workflow_type=readable("--workflow-type", choosing["workflow_type"]),
        **others,
    )
    _check_bounds(request)
    return request


def _settings(options: Mapping[str, Any], request: Request, *, force: bool) -> Settings:
    settings = load(**{name: value for name, value in options.items() if value is not None})
    if (request.since or request.until) and settings.columns.created_at is None:
        raise ConfigurationError(
            "--since and --until go by RECONCILER_COLUMNS__CREATED_AT, which is set to none"
        )
    _check_missing(settings, force=force, partly=bool(request.limit and request.output))
    return settings


def _check_options(options: Mapping[str, object], flags: Mapping[str, bool]) -> None:
    """Refuse what contradicts itself: an option without effect would be a silent surprise."""
    given = {f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None}
    given |= {name for name, value in flags.items() if value}
    for one, other in _EXCLUSIVE:
        if {one, other} <= given:
            raise ConfigurationError(f"{one} and {other} exclude each other")
    for one, needed in _NEEDS:
        if one in given and needed not in given:
            raise ConfigurationError(f"{one} needs {needed}")
    asks = flags["--apply"] and not flags["--yes"]
    if asks and not (sys.stdin and sys.stdin.isatty()):
        raise ConfigurationError("--apply needs --yes where there is no terminal to ask on")


def _check_missing(settings: Settings, *, force: bool, partly: bool) -> None:
    fails = settings.missing is MissingPolicy.FAIL
    if force and not fails:
        raise ConfigurationError("--force needs --missing fail: no row is held back without it")
    if partly and fails:
        raise ConfigurationError(
            "--limit and --output exclude each other with --missing fail: the share of missing "
            "rows is known at the end of the window"
        )


def _print(report: PassReport, output: Path | None, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json(settings.status_values())))
        return
    from reconciler.console.preview import print_what_next
    from reconciler.console.report import print_report

    console = screen()
    if report.progress is not None:  # unless it was aborted before its beginning
        print_report(report, console)
    print_what_next(report, sys.argv[1:], output, console, journal=settings.journal)


async def _backfill(
    settings: Settings,
    request: Request,
    plan: Path | None,
    terminal: _Terminal,
    *,
    force: bool,
) -> PassReport | None:
    from reconciler.app.apply_plan import run_plan
    from reconciler.app.backfill import run_backfill

    if plan is not None:
        return await run_plan(settings, request, plan, terminal, force=force)
    return await run_backfill(settings, request, terminal)


class _Terminal:
    """Shows the backfill to the operator, and asks; on stderr."""

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks
        self._console = screen(stderr=True)

    def confirm(self, preview: Preview) -> bool:
        """Show what lies ahead, and ask unless --yes was given."""
        from reconciler.console.preview import print_preview

        print_preview(preview, self._console)
        if not self._asks or not preview.rows:
            return True
        return agreed(f"Write into {preview.table}?")

    def show_progress(self, preview: Preview) -> AbstractContextManager[Observer]:
        """A bar, or lines where there is no terminal."""
        from reconciler.console.progress import watching

        return watching(self._console, preview.rows, dry_run=not preview.apply)


def _check_bounds(request: Request) -> None:
    """Refuse at once a window that is empty by any clock."""
    bounds = [bound.at for bound in (request.since, request.until) if bound is not None]
    if len({isinstance(at, timedelta) for at in bounds}) == 1:
        request.window(datetime.now(UTC))


def _moment(option: str, text: str | None) -> Moment | None:
    from reconciler.settings.types import parse_moment

    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {error} (it is {text!r})") from None
