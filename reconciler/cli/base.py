"""What every command needs: the Typer object, exit codes, settings, the one line of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, overload

import typer
from typer.core import TyperGroup

from reconciler.core.errors import ConfigurationError
from reconciler.core.report import PassOutcome, Report
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

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text for people.")
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print a JSON object per line instead of a table.")
]

#: The order in which the help lists the commands: that in which a newcomer needs them.
_ORDER = (
    *("init", "doctor", "once", "run", "explain", "backfill"),
    *("passes", "changes", "undo", "migrate", "demo"),
)
# `\b` keeps a paragraph as it is.
_MORE = """\b
Examples:
  export DATABASE_URL=postgresql://user:password@db:5432/app TEMPORAL_ADDRESS=temporal:7233
  reconciler init               write a reconciler.toml that fits your table
  reconciler doctor             check the set-up
  reconciler once --dry-run     show what a pass would write
  reconciler explain ORDER-17   show what Temporal says about one row

\b
Settings, from the environment, .env or reconciler.toml (`reconciler doctor` shows all of them):
  DATABASE_URL                            the database of the application
  TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE    Temporal, with its own variables
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
    """The commands in their order, whichever module brings them."""

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


def load(**options: Any) -> Settings:
    """The settings, with options of the command line in place of some; logs are set up."""
    from reconciler.host.logs import configure_logs
    from reconciler.settings.load import load_settings
    from reconciler.settings.model import LogFormat, Settings

    settings = load_settings(Settings, **options)
    configure_logs(settings.log_level, as_json=settings.log_format is LogFormat.JSON)
    return settings


def conclude(report: Report, show: Callable[[], None]) -> int:
    """Print a report, return the exit code; say what ended the pass even if stdout is lost."""
    try:
        show()
    finally:
        code = exit_code(report)
    return code


def exit_code(report: Report) -> int:
    """The exit code of a pass; prints the reason if it was aborted, unless that was a signal."""
    if signals.asked:
        return INTERRUPTED
    if report.error is not None:
        refuse(report.error)
    return _EXIT_CODES[report.outcome]


@overload
def readable(option: str, text: str) -> str: ...


@overload
def readable(option: str, text: str | None) -> str | None: ...


def readable(option: str, text: str | None) -> str | None:
    """The text of an option; refused if it holds bytes that are no text."""
    if text is not None and not is_text(text):
        raise ConfigurationError(f"{option} is not UTF-8")
    return text


def agreed(question: str) -> bool:
    """The answer to a question, on a terminal; Ctrl-C and Ctrl-D end the command."""
    try:
        with signals.asking():
            return typer.confirm(visible(question), err=True)
    except typer.Abort:
        signals.asked = max(signals.asked, 1)
        raise asyncio.CancelledError from None


def refuse(text: str) -> None:
    """One line on stderr: why the command did not do what was asked."""
    say(f"reconciler: {' '.join(text.split())}")


def say(line: str) -> None:
    """A line on stderr, whatever is in it; dropped if stderr takes none."""
    Stderr().write(f"{visible(line)}\n")
