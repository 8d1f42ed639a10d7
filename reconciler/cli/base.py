"""What every command needs: the Typer object, exit codes, settings, the one line of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import typer

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

cli = typer.Typer(
    name="reconciler",
    help="Repairs workflow rows that still say running after their Temporal workflow has ended.",
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
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


def refuse(text: str) -> None:
    """One line on stderr: why the command did not do what was asked."""
    say(f"reconciler: {' '.join(text.split())}")


def say(line: str) -> None:
    """A line on stderr, whatever is in it; dropped if stderr takes none."""
    Stderr().write(f"{visible(line)}\n")
