"""What `doctor` prints: the resolved settings, and a line per check."""

from __future__ import annotations

from rich.console import Console

from reconciler.console.screen import print_aligned, print_line
from reconciler.core.text import plural
from reconciler.doctor.findings import Examination, Finding, Level

_COLOURS = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.FAILURE: "bold red",
    Level.SKIPPED: "dim",
}


def print_examination(examination: Examination, console: Console) -> None:
    """Print settings, findings and a summary. Each is one line, however long."""
    settings = [(each.name, each.value, each.source) for each in examination.settings]
    if settings:
        print_aligned(settings, ("", "", "dim"), console)
        console.print()
    width = max((len(finding.check) for finding in examination.findings), default=0)
    for finding in examination.findings:
        _print_finding(finding, width, console)
    console.print()
    counts = [(level, examination.count(level)) for level in Level]
    summary = ", ".join(_counted(*each) for each in counts if each != (Level.SKIPPED, 0))
    print_line(console, _coloured(examination.outcome), f": {summary}")


def _print_finding(finding: Finding, width: int, console: Console) -> None:
    fix = f" → {finding.fix}" if finding.fix else ""
    level = _coloured(finding.level, len(Level.WARNING.value))
    print_line(console, level, f"  {finding.check:{width}}  {finding.message}", (fix, "bold"))


def _coloured(level: Level, width: int = 0) -> tuple[str, str]:
    # A check that was not made must look neither like a success nor like a problem.
    word = "–" if level is Level.SKIPPED else level.value
    return f"{word:{width}}", _COLOURS[level]


def _counted(level: Level, count: int) -> str:
    match level:
        case Level.WARNING | Level.FAILURE:
            return plural(count, level.value)
        case Level.OK:
            return f"{count} ok"
        case Level.SKIPPED:
            return f"{count} not checked"
