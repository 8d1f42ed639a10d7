"""`reconciler backfill`: options in, a report out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from reconciler.cli.base import (
    OK,
    AsJson,
    Target,
    as_utf8,
    can_ask,
    cli,
    conclude,
    load,
    print_error,
)
from reconciler.cli.distributed import distributed, stop_distributed
from reconciler.cli.each_target import of_target
from reconciler.cli.operator import Terminal
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import MissingPolicy
from reconciler.core.report.pass_report import PassReport
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.app.backfill import Request
    from reconciler.core.window import Moment
    from reconciler.settings.model import Settings

_EXCLUSIVE = (
    *product(["--apply"], ["--dry-run", "--output"]),
    # The plan would contain rows beyond those that the dry run counted.
    ("--max-changes", "--output"),
    ("--force", "--max-missing-ratio"),
    # A plan has selected and judged its rows already.
    *product(["--plan"], ["--since", "--until", "--workflow-type"]),
    *product(["--plan"], ["--missing", "--max-missing-ratio", "--max-rps", "--concurrency"]),
    # Its ranges are worked on at the same time, and it goes on by itself.
    *product(["--distribute"], ["--limit", "--max-changes", "--output", "--plan", "--restart"]),
)
#: What goes with --cancel; nothing else would have an effect.
_WITH_CANCEL = {"--cancel", "--target", "--as-json"}
_NEEDS = (("--restart", "--apply"), ("--plan", "--apply"), ("--yes", "--apply"))

_WHEN = "a timestamp (UTC), or an age such as 90d, 12h"
_Apply = Annotated[bool, Option("--apply", help="Write. The default is a dry run.")]
_DryRun = Annotated[bool, Option("--dry-run", help="Write nothing: the default.")]
_Since = Annotated[str | None, Option(metavar="WHEN", help=f"Only rows created since: {_WHEN}.")]
_Until = Annotated[str | None, Option(metavar="WHEN", help="Only rows created before WHEN.")]
_Type = Annotated[str | None, Option(metavar="TYPE", help="Only rows of this workflow type.")]
_Limit = Annotated[int | None, Option(min=1, metavar="N", help="Scan at most N rows.")]
_MaxChanges = Annotated[int | None, Option(min=1, metavar="N", help="Write at most N rows.")]
_Missing = Annotated[
    str | None,
    Option(
        metavar="leave|fail",
        help="Rows that Temporal does not know [RECONCILER_MISSING].",
    ),
]
_Ratio = Annotated[
    float | None,
    Option(metavar="RATIO", help="Fail no missing row if more than this share is missing."),
]
_Force = Annotated[bool, Option("--force", help="Fail missing rows, however many there are.")]
_MaxRps = Annotated[float | None, Option(metavar="N", help="Calls to Temporal per second.")]
_Concurrency = Annotated[
    int | None, Option(metavar="N", help="Rows to ask Temporal about at once.")
]
_Output = Annotated[
    Path | None, Option(metavar="FILE", help="Save the dry run: as a plan, .jsonl, or .csv.")
]
_Plan = Annotated[
    Path | None, Option(metavar="FILE", help="With --apply: write exactly this plan.")
]
_Restart = Annotated[bool, Option("--restart", help="Start over instead of resuming.")]
_Yes = Annotated[bool, Option("--yes", help="Do not ask before writing.")]
_Distribute = Annotated[
    int | None,
    Option(
        min=1,
        max=1000,
        metavar="W",
        help="Let `reconciler worker` do it on other machines, W ranges of rows at a time.",
    ),
]
_Cancel = Annotated[bool, Option("--cancel", help="Stop a backfill that was distributed.")]


@cli.command(
    epilog="""\b
Examples:
  reconciler backfill --until 1d                       a dry run: how many rows, and their ends
  reconciler backfill --until 1d --output plan.jsonl   the same, and save each row in a file
  reconciler backfill --apply --plan plan.jsonl        write exactly that
  reconciler backfill --until 1d --apply               or judge and write at once
  reconciler backfill --distribute 4 --apply           on four machines

Exit code 3 also means that a limit was reached and rows are left. More: docs/backfill.md,
docs/machines.md"""
)
def backfill(
    context: typer.Context,
    apply: _Apply = False,
    dry_run: _DryRun = False,  # noqa: ARG001 - read from the context, as are others
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
    distribute: _Distribute = None,
    cancel: _Cancel = False,
    as_json: AsJson = False,
    target: Target = None,
) -> int:
    """Repair years of stale rows: a dry run first, then --apply.

    The same command resumes where the last one ended: by Ctrl-C, kill -9, a lost connection,
    --limit or --max-changes.
    """
    _check_options(context.params)
    if cancel:
        return stop_distributed(load(target), as_json=as_json)
    limits = {"limit": limit, "max_changes": max_changes}
    request = _request(
        since, until, workflow_type, apply=apply, restart=restart, output=output, **limits
    )
    settings = load(
        target,
        missing=missing,
        max_missing_ratio=1.0 if force else max_missing_ratio,
        max_rps=max_rps,
        concurrency=concurrency,
    )
    _check_settings(settings, request, force=force and plan is None)
    terminal = Terminal(asks=apply and not yes)
    do = partial(_backfill, settings, request, plan, terminal, force=force)
    if distribute is not None:
        do = partial(distributed, settings, request, distribute, terminal)
    report = signals.run(do)
    if report is None:
        print_error("nothing was written")
        return OK
    return conclude(report, settings, partial(_print, report, output, settings), as_json=as_json)


def _check_options(options: Mapping[str, object]) -> None:
    """Reject contradictions, and options that would have no effect."""
    given = {
        f"--{name.replace('_', '-')}"
        for name, value in options.items()
        if value is not None and value is not False
    }
    if "--cancel" in given and (others := given - _WITH_CANCEL):
        raise ConfigurationError(f"--cancel and {min(others)} exclude each other")
    for one, other in _EXCLUSIVE:
        if {one, other} <= given:
            raise ConfigurationError(f"{one} and {other} exclude each other")
    for one, needed in _NEEDS:
        if one in given and needed not in given:
            raise ConfigurationError(f"{one} needs {needed}")
    if "--apply" in given and "--yes" not in given and not can_ask():
        raise ConfigurationError("--apply needs --yes where there is no terminal to ask on")


def _request(
    since: str | None, until: str | None, workflow_type: str | None, **others: Any
) -> Request:
    from reconciler.app.backfill import Request

    request = Request(
        since=_moment("--since", since),
        until=_moment("--until", until),
        workflow_type=as_utf8("--workflow-type", workflow_type),
        **others,
    )
    bounds = [bound.at for bound in (request.since, request.until) if bound is not None]
    # Two ages, or two timestamps: the window is empty by any clock, or by none.
    if len({isinstance(at, timedelta) for at in bounds}) == 1:
        request.window(datetime.now(UTC))
    return request


def _moment(option: str, text: str | None) -> Moment | None:
    from reconciler.settings.types import parse_moment

    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {error} (it is {text!r})") from None


def _check_settings(settings: Settings, request: Request, *, force: bool) -> None:
    if (request.since or request.until) and settings.columns.created_at is None:
        raise ConfigurationError(
            "--since and --until go by RECONCILER_COLUMNS__CREATED_AT, which is set to none"
        )
    fails = settings.missing is MissingPolicy.FAIL
    if force and not fails:
        raise ConfigurationError("--force needs --missing fail: no row is held back without it")
    if fails and request.limit and request.output:
        raise ConfigurationError(
            "--limit and --output exclude each other with --missing fail: the share of missing "
            "rows is known only at the end of the window"
        )


def _print(report: PassReport, output: Path | None, settings: Settings) -> None:
    from reconciler.console.preview import print_what_next
    from reconciler.console.report import print_report

    console, journal, target = screen(), settings.journal, of_target(settings)
    if report.progress is not None:  # unless it was aborted before its beginning
        print_report(report, console)
    print_what_next(report, sys.argv[1:], output, console, journal=journal, target=target)


async def _backfill(
    settings: Settings,
    request: Request,
    plan: Path | None,
    terminal: Terminal,
    *,
    force: bool,
) -> PassReport | None:
    from reconciler.app.apply_plan import run_plan
    from reconciler.app.backfill import run_backfill

    if plan is not None:
        return await run_plan(settings, request, plan, terminal, force=force)
    return await run_backfill(settings, request, terminal)
