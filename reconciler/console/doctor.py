"""What `doctor` prints: the settings as resolved, and a line per check."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from reconciler.console.screen import shown
from reconciler.core.text import plural, visible
from reconciler.doctor.findings import Examination, Finding, Level

_COLOURS = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.FAILURE: "bold red",
    Level.SKIPPED: "dim",
}


def print_examination(examination: Examination, console: Console) -> None:
    """Settings, findings, and how many there are of each kind. A line each, however long."""
    name, value = (
        max((len(visible(getattr(setting, part))) for setting in examination.settings), default=0)
        for part in ("name", "value")
    )
    for setting in examination.settings:
        source = (setting.source, "dim")
        resolved = f"{visible(setting.name):{name}}  {visible(setting.value):{value}}  "
        line = shown(resolved, source)
        console.print(line, soft_wrap=True)
    console.print()
    width = max((len(finding.check) for finding in examination.findings), default=0)
    for finding in examination.findings:
        console.print(_line(finding, width), soft_wrap=True)
    console.print()
    counts = [(level, examination.count(level)) for level in Level]
    summary = ", ".join(_counted(*each) for each in counts if each != (Level.SKIPPED, 0))
    console.print(shown(_coloured(examination.outcome), f": {summary}"), soft_wrap=True)


def _line(finding: Finding, width: int) -> Text:
    fix = f" → {finding.fix}" if finding.fix else ""
    level = _coloured(finding.level, len(Level.WARNING.value))
    return shown(level, f"  {finding.check:{width}}  {finding.message}", (fix, "bold"))


def _coloured(level: Level, width: int = 0) -> tuple[str, str]:
    # What was not checked is neither well nor wrong, and should not look like either.
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
