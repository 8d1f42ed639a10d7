"""The program as a whole, and the commands `once`, `run` and `demo`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler import __version__
from reconciler.cli.base import (
    ABORTED,
    BROKEN_PIPE,
    OK,
    USAGE,
    AsJson,
    DryRun,
    Target,
    Wait,
    as_utf8,
    cli,
    conclude,
    load_each,
    patience,
    print_error,
    print_failure,
)
from reconciler.cli.each_target import Each
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import PassReport
from reconciler.host.signals import INTERRUPTED, signals
from reconciler.host.streams import StdoutLost, decoded

if TYPE_CHECKING:
    from reconciler.settings.model import Settings

__all__ = ["cli", "run"]

# Typer exports this usage error, but not its base class.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; nothing escapes."""
    try:
        return _run(arguments)
    except _UsageError as error:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        print_error(f"{text.rstrip('.')}; see {_command(error)} --help")
        return USAGE
    except SystemExit as end:  # from shell completion, or stdout was closed, e.g. by `| head`
        return BROKEN_PIPE if end.code else OK
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        print_error("interrupted")
        return INTERRUPTED
    except Exception as error:
        return print_failure(error)


def _command(error: Exception) -> str:
    """The command whose help to read, e.g. `reconciler once`."""
    context = getattr(error, "ctx", None)
    return f"reconciler {context.info_name}" if context and context.parent else "reconciler"


def _run(arguments: Sequence[str]) -> int:
    code = OK
    try:
        code = int(cli(args=[decoded(each) for each in arguments], standalone_mode=False) or OK)
        if signals.asked:
            code = INTERRUPTED
        if code == INTERRUPTED:  # which may also be Typer's KeyboardInterrupt
            print_error("interrupted")
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # stdout was closed before it was flushed, e.g. by `| head`
        return BROKEN_PIPE
    except StdoutLost as error:
        print_error(
            f"cannot write to stdout ({error.strerror}): the command has done its work, only its "
            "output is lost"
        )
        return INTERRUPTED if signals.asked or code == INTERRUPTED else ABORTED
    return code


@cli.callback()
def main(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The reconciler.toml to read [RECONCILER_CONFIG]."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Repairs workflow rows that still say running after their Temporal workflow has ended."""
    if version:
        print(f"reconciler {__version__}")
        raise typer.Exit(OK)
    if config == "":  # such as an unset variable of a script
        raise ConfigurationError("--config is empty", "name a file")
    if config is not None:
        os.environ["RECONCILER_CONFIG"] = as_utf8("--config", config)
    if context.invoked_subcommand is None:
        raise ConfigurationError(
            f"name a command: {', '.join(context.command.list_commands(context))}; "  # type: ignore[attr-defined]
            "see reconciler --help"
        )


@cli.command()
def once(
    dry_run: DryRun = False,
    as_json: AsJson = False,
    wait: Wait = None,
    target: Target = None,
) -> int:
    """Run one pass over every running row, then exit: for cron.

    On a terminal it shows its progress. Elsewhere it logs a line for each row that it finishes.
    """
    up_to = patience(wait)
    each = Each(targets=load_each(target), named=target, as_json=as_json, works=True)
    return each.run(partial(_once_for, dry_run=dry_run, wait=up_to, as_json=as_json))


def _once_for(settings: Settings, *, dry_run: bool, wait: timedelta, as_json: bool) -> int:
    from reconciler.console.report import print_report

    report = signals.run(partial(_once, settings, dry_run=dry_run, wait=wait))

    def show() -> None:
        if report.tally.scanned or report.error is None:
            print_report(report, screen())

    return conclude(report, settings, show, as_json=as_json)


async def _once(settings: Settings, *, dry_run: bool, wait: timedelta) -> PassReport:
    from reconciler.app.waiting import wait_for_servers
    from reconciler.app.wiring import open_app
    from reconciler.console.progress import show_progress
    from reconciler.core.report.pass_report import PassReport
    from reconciler.core.report.request import PassRequest
    from reconciler.passes.lifecycle import reported
    from reconciler.passes.observers import Bystander

    report = PassReport.begin(PassRequest(Mode.ONCE, dry_run), datetime.now(UTC))
    terminal = screen(stderr=True)
    with reported(report):
        await wait_for_servers(settings, wait)
        async with open_app(settings, writing=not dry_run, dry_run=dry_run) as app:
            if not terminal.is_terminal:
                await app.run_pass(Mode.ONCE, dry_run=dry_run, report=report)
                return report
            rows = await app.count_running()
            with show_progress(terminal, rows, dry_run=dry_run) as bar:
                await app.run_pass(
                    Mode.ONCE,
                    dry_run=dry_run,
                    report=report,
                    observers=[Bystander(bar)],
                    each_row=False,
                )
    return report


@cli.command(
    "run",
    epilog="""\b
Settings:
  RECONCILER_FEED_INTERVAL=5s       how often Temporal is asked what has closed; 0: never
  RECONCILER_INTERVAL=30s           from the start of one pass to the next; each
                                    describes some of the rows, or all without the feed
  RECONCILER_HTTP_HOST=127.0.0.1    where the page, /livez, /readyz and /metrics are
  RECONCILER_HTTP_PORT=8080         served; 0.0.0.0 for other hosts to reach them
  RECONCILER_PAGE_PASSWORD          opens the page to other hosts; see docs/page.md
  RECONCILER_LOG_FORMAT=console     or json

More: docs/feed.md, docs/deployment.md, docs/metrics.md""",
)
def run_loop(
    target: Target = None,
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="'M H D M W'",
            help="Start passes at these times (UTC) instead of every RECONCILER_INTERVAL. The feed "
            "keeps its own interval.",
        ),
    ] = None,
) -> None:
    """Run passes in a loop, with health and metrics over HTTP.

    For a container or a service. Serves all targets of reconciler.toml. Start as many replicas as
    you like: for each target, one runs the passes, the others are on standby.
    """
    from reconciler.daemon.process import run_daemon
    from reconciler.daemon.schedule import parse_cron
    from reconciler.daemon.target import load_target

    each = load_each(target)
    schedule = None if cron is None else parse_cron(cron)
    asyncio.run(run_daemon([load_target(settings, schedule) for settings in each]))


@cli.command()
def demo(
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Then run the loop beside steady traffic and stuck workflows."),
    ] = False,
) -> int:
    """Show everything on an embedded Temporal and PostgreSQL."""
    from reconciler.demo.run import run_demo

    return signals.run(partial(run_demo, keep=keep))


# Importing these modules adds their commands; `base` has the order of all of them.
from reconciler.cli import backfill as _backfill  # noqa: E402, F401
from reconciler.cli import doctor as _doctor  # noqa: E402, F401
from reconciler.cli import explain as _explain  # noqa: E402, F401
from reconciler.cli import init as _init  # noqa: E402, F401
from reconciler.cli import journal as _journal  # noqa: E402, F401
from reconciler.cli import setup as _setup  # noqa: E402, F401
from reconciler.cli import stuck as _stuck  # noqa: E402, F401
from reconciler.cli import worker as _worker  # noqa: E402, F401
