"""What every command needs: the Typer object, exit codes, settings, error lines."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from reconciler.core.errors import ConfigurationError, ReconcilerError
from reconciler.core.report.pass_report import PassOutcome, Report
from reconciler.core.text import visible
from reconciler.host.signals import INTERRUPTED, signals
from reconciler.host.streams import Stderr, is_text

if TYPE_CHECKING:
    from reconciler.settings.model import Settings

OK, BUG, USAGE, UNRESOLVED, ABORTED = 0, 1, 2, 3, 4
BROKEN_PIPE = 141  # as shells count signals: 128 + SIGPIPE

_EXIT_CODES = {
    PassOutcome.OK: OK,
    PassOutcome.UNRESOLVED: UNRESOLVED,
    PassOutcome.ABORTED: ABORTED,
}

_Text = TypeVar("_Text", bound=str | None)

#: The target that output is about, if the command is about several; else empty.
subject: ContextVar[str] = ContextVar("subject", default="")

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text for people.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print a JSON object per line instead of a table.")
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="Only this target of reconciler.toml."),
]
Wait = Annotated[
    str | None,
    typer.Option(metavar="30s", help="First wait for the servers to answer, this long at most."),
]

#: The order of the commands in the help: that in which a newcomer needs them.
_ORDER = (
    *("init", "doctor", "once", "run", "explain", "stuck", "backfill"),
    *("worker", "passes", "changes", "undo", "migrate", "demo"),
)
# `\b` keeps a paragraph as it is.
_MORE = """\b
Examples:
  export DATABASE_URL=postgresql://user:password@db:5432/app TEMPORAL_ADDRESS=temporal:7233
  reconciler init               write a reconciler.toml that fits your table
  reconciler doctor             check the setup
  reconciler once --dry-run     show what a pass would write
  reconciler explain ORDER-17   show what Temporal says about one row

\b
Settings, from the environment, .env or reconciler.toml (docs/settings.md lists all of them):
  DATABASE_URL                            the application's database
  TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE    Temporal, as for the `temporal` command
  RECONCILER_TABLE, RECONCILER_COLUMNS__* the table, and the names of its columns
  RECONCILER_STATUSES__*                  the values of its status

\b
Exit codes:
  0  done                               2    wrong usage or configuration
  3  done, but some rows are unclear    4    Temporal or the database cannot be used
  1  a bug                              130  interrupted

\b
Documentation: README.md and docs/ of the source checkout"""


class _Commands(TyperGroup):
    """The commands in their order, whichever module they are in."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return sorted(self.commands, key=_ORDER.index)


cli = typer.Typer(
    name="reconciler",
    cls=_Commands,
    epilog=_MORE,
    # Plain help: the same on a terminal, in a pipe and in the docs.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def load_each(target: str | None = None, **options: Any) -> Sequence[Settings]:
    """The settings of the target, or of each one; those of no target where there are none.

    `options` that are not None replace settings. Sets up the logs.
    """
    from reconciler.settings.targets import load_targets

    given = {name: value for name, value in options.items() if value is not None}
    each = load_targets(as_utf8("--target", target), **given)
    _set_up_logs(each[0])
    return each


def load(target: str | None = None, **options: Any) -> Settings:
    """The same for a command about one target. Raises `ConfigurationError` if it is not named."""
    each = load_each(target, **options)
    if len(each) > 1:
        names = ", ".join(settings.target for settings in each)
        raise ConfigurationError("name one target with --target", f"there are {names}")
    return each[0]


def load_outside() -> Settings:
    """The settings that are in no target. Sets up the logs."""
    from reconciler.settings.load import load_settings
    from reconciler.settings.model import Settings

    settings = load_settings(Settings)
    _set_up_logs(settings)
    return settings


def _set_up_logs(settings: Settings) -> None:
    """Logs are the process's: they have the same settings in all targets."""
    from reconciler.host.logs import configure_logs
    from reconciler.settings.model import LogFormat

    configure_logs(settings.log_level, as_json=settings.log_format is LogFormat.JSON)


def conclude(report: Report, settings: Settings, show: Callable[[], None], *, as_json: bool) -> int:
    """Print a report, as JSON or by `show`, and why it was aborted; returns the exit code.

    The reason is printed even if stdout is lost, but not after a signal.
    """
    try:
        if as_json:
            print(json.dumps(report.as_json(settings.status_values())))
        else:
            show()
    finally:
        if report.error is not None and not signals.asked:
            print_error(report.error)
    return INTERRUPTED if signals.asked else _EXIT_CODES[report.outcome]


def as_utf8(option: str, text: _Text) -> _Text:
    """The text of an option. Raises `ConfigurationError` if it contains undecodable bytes."""
    if text is not None and not is_text(text):
        raise ConfigurationError(f"{option} is not UTF-8")
    return text


def patience(wait: str | None) -> timedelta:
    """The value of `--wait`. Raises `ConfigurationError`."""
    from reconciler.settings.types import parse_duration

    try:
        return timedelta(0) if wait is None else parse_duration(wait)
    except ValueError as error:
        raise ConfigurationError(f"--wait {error} (it is {wait!r})") from None


def can_ask() -> bool:
    """Whether there is a terminal to ask a question on."""
    return bool(sys.stdin and sys.stdin.isatty())


def confirm(question: str) -> bool:
    """Ask a yes-or-no question on the terminal; Ctrl-C and Ctrl-D end the command."""
    try:
        with signals.asking():
            return typer.confirm(visible(question), err=True)
    except typer.Abort:
        signals.asked = max(signals.asked, 1)
        raise asyncio.CancelledError from None


def print_error(text: str) -> None:
    """Print one line on stderr: why the command did not do what was asked."""
    about = f"{target}: " if (target := subject.get()) else ""
    print_to_stderr(f"reconciler: {about}{' '.join(text.split())}")


def print_failure(error: Exception) -> int:
    """Print why a command has failed, or the traceback of a bug; returns the exit code."""
    if isinstance(error, ReconcilerError):
        print_error(str(error))
        return USAGE if isinstance(error, ConfigurationError) else ABORTED
    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        print_to_stderr(line)
    print_error("this is a bug; please report it with the lines above")
    return BUG


def print_to_stderr(line: str) -> None:
    """Print a line on stderr with invisible characters escaped; never fails."""
    Stderr().write(f"{visible(line)}\n")
