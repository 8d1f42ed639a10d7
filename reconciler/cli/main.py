"""`run`, and the commands that need no more than a few lines each."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler import __version__
from reconciler.cli.base import (
    ABORTED,
    BROKEN_PIPE,
    BUG,
    OK,
    UNRESOLVED,
    USAGE,
    cli,
    conclude,
    load,
    readable,
    refuse,
    say,
)
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError, ReconcilerError
from reconciler.core.model import Mode
from reconciler.core.report import PassReport
from reconciler.core.text import visible
from reconciler.host.signals import INTERRUPTED, signals
from reconciler.host.streams import StdoutLost, decoded

if TYPE_CHECKING:
    from reconciler.settings.model import Settings

__all__ = ["cli", "run"]

# Typer does not export the base of its usage errors, only this one of them.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; nothing escapes."""
    try:
        return _run(arguments)
    except ReconcilerError as error:
        refuse(str(error))
        return USAGE if isinstance(error, ConfigurationError) else ABORTED
    except _UsageError as error:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        refuse(f"{text.rstrip('.')}; see {_command(error)} --help")
        return USAGE
    except SystemExit:  # Typer's answer to a reader that went away, e.g. `| head`
        return BROKEN_PIPE
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        refuse("interrupted")
        return INTERRUPTED
    except Exception as error:
        for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
            say(line)
        refuse("this is a bug; please report it with the lines above")
        return BUG


def _command(error: Exception) -> str:
    """The command whose help says more, e.g. `reconciler once`."""
    context = getattr(error, "ctx", None)
    return f"reconciler {context.info_name}" if context and context.parent else "reconciler"


def _run(arguments: Sequence[str]) -> int:
    code = OK
    try:
        code = int(cli(args=[decoded(each) for each in arguments], standalone_mode=False) or OK)
        if signals.asked:
            code = INTERRUPTED
        if code == INTERRUPTED:  # which may also be Typer's KeyboardInterrupt
            refuse("interrupted")
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, e.g. `| head`, before it was flushed
        return BROKEN_PIPE
    except StdoutLost as error:
        refuse(
            f"cannot write to stdout ({error.strerror}): what the command did is done, only what "
            "it prints is lost"
        )
        return INTERRUPTED if signals.asked or code == INTERRUPTED else ABORTED
    return code


@cli.callback()
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Repairs workflow rows that still say running after their Temporal workflow has ended."""
    if version:
        print(f"reconciler {__version__}")
        raise typer.Exit(OK)
    if context.invoked_subcommand is None:
        raise ConfigurationError(
            f"name a command: {', '.join(context.command.commands)}; see reconciler --help"  # type: ignore[attr-defined]
        )


@cli.command()
def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements instead.")] = False,
) -> None:
    """Bring the database to what this version needs."""
    from reconciler.app import migrate as app

    settings = load()
    if sql:
        statements = StringIO()
        signals.run(partial(app.migration_sql, settings, statements))
        print(_exact(statements.getvalue()), end="")
        return
    for line in signals.run(partial(app.migrate, settings)) or ["nothing to do: up to date"]:
        print(visible(line))


def _exact(text: str) -> str:
    """The text, if stdout takes it unchanged: an escape would make another statement of it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"the statements have characters that are not in {encoding}: set PYTHONIOENCODING=utf-8"
        ) from None
    return text


@cli.command()
def once(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> int:
    """One pass over every running row, then exit: the cron job."""
    from reconciler.console.report import print_report

    settings = load()
    report = signals.run(partial(_once, settings, dry_run=dry_run))

    def show() -> None:
        if as_json:
            print(json.dumps(report.as_json(settings.status_values())))
        elif report.error is None:
            print_report(report, screen())

    return conclude(report, show)


async def _once(settings: Settings, *, dry_run: bool) -> PassReport:
    from reconciler.app.wiring import open_app
    from reconciler.core.report import PassReport
    from reconciler.core.request import PassRequest
    from reconciler.passes.lifecycle import reported

    report = PassReport.begin(PassRequest(Mode.ONCE, dry_run), datetime.now(UTC))
    with reported(report):
        async with open_app(settings, writing=not dry_run) as app:
            await app.run_pass(Mode.ONCE, dry_run=dry_run, report=report)
    return report


@cli.command("run")
def run_loop(
    cron: Annotated[
        str | None,
        typer.Option("--cron", help="Pass at these times (UTC) in place of every INTERVAL."),
    ] = None,
) -> None:
    """The loop, with health and metrics over HTTP: the container."""
    from reconciler.daemon.loop import run_daemon
    from reconciler.daemon.schedule import Every, parse_cron
    from reconciler.settings.load import temporal_environment
    from reconciler.temporal.config.load import load_config

    settings = load()
    schedule = Every(settings.interval) if cron is None else parse_cron(cron)
    temporal = load_config(temporal_environment(), settings.proxy_url)
    asyncio.run(run_daemon(settings, schedule, temporal))


@cli.command()
def explain(
    workflow_id: Annotated[str, typer.Argument(help="The workflow id of the row.")],
) -> int:
    """What Temporal says about a row, what would be written and why. Writes nothing."""
    return signals.run(partial(_explain, load(), readable("WORKFLOW_ID", workflow_id)))


async def _explain(settings: Settings, workflow_id: str) -> int:
    from reconciler.app.wiring import open_app
    from reconciler.console.explain import describe_observation, print_explanations
    from reconciler.core.model import Unknown

    async with open_app(settings, writing=False, ask_archive=True) as app:
        explanations = await app.explain(workflow_id)
        print_explanations(explanations, screen())
        if not explanations:
            answer = describe_observation(await app.observe_id(workflow_id))
            refuse(f"{settings.table} has no row of workflow {workflow_id}; Temporal: {answer}")
            return UNRESOLVED
        unknown = any(e.stored.running and isinstance(e.observation, Unknown) for e in explanations)
        return UNRESOLVED if unknown else OK


@cli.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the servers up and say how to connect.")
    ] = False,
) -> int:
    """Everything on an embedded Temporal and PostgreSQL; nothing to install by hand."""
    from reconciler.demo.run import run_demo

    return signals.run(partial(run_demo, keep=keep))


# Their commands, after ours in the help.
from reconciler.cli import backfill as _backfill  # noqa: E402, F401
from reconciler.cli import doctor as _doctor  # noqa: E402, F401
from reconciler.cli import journal as _journal  # noqa: E402, F401
