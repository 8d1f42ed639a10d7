"""What `stuck` prints: the groups, then the rows, then how fresh that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from rich.console import Console

from reconciler.app.overview.words import TEXT
from reconciler.app.stuck.report import StuckReport
from reconciler.console.journal import Listing
from reconciler.console.screen import print_line
from reconciler.core.stuck.condition import StuckRow
from reconciler.core.text import one_line, plural, rough, utc

#: Groups that are printed; --json prints all.
GROUPS = 20


class StuckTable(Listing[StuckRow]):
    """The stuck rows, one line each."""

    def __init__(self, console: Console, limit: int) -> None:
        super().__init__(console, limit, ("since", "reason", "type", "workflow", "why"))

    def add(self, page: Sequence[StuckRow]) -> None:
        """Print a page of rows."""
        self._print([self._line(row) for row in page])

    @staticmethod
    def _line(row: StuckRow) -> Sequence[str]:
        return (
            utc(row.since),
            row.reason.value,
            one_line(row.workflow_type, TEXT),
            one_line(row.workflow_id, TEXT),
            one_line(row.text, TEXT),
        )


def print_groups(report: StuckReport, console: Console) -> None:
    """Print a line per group, and how many there are beside them."""
    shown = report.groups[:GROUPS]
    for group in shown:
        cause = f" {one_line(group.text, TEXT)}" if group.text else ""
        age = _age(report, group.oldest_since)
        print_line(
            console,
            (f"{plural(group.rows, 'row')}: ", "bold"),
            (group.reason.value, "yellow"),
            f"{cause}, oldest {age}",
            (f" ({one_line(group.workflow_type, TEXT)})", "dim"),
        )
    if more := report.all_groups - len(shown):
        rest = sum(report.rows.values()) - sum(group.rows for group in shown)
        text = f"{plural(more, 'more group')}, with {plural(rest, 'row')}"
        print_line(console, text, style="dim")
    if shown:
        console.print()


def print_end(report: StuckReport, console: Console, *, filtered: bool) -> None:
    """Print how many rows are stuck, how fresh that is, and what is not known.

    `filtered`: only some of the stuck rows were asked for.
    """
    rows = sum(report.rows.values())
    which = (f"{rows:,}" if rows else "no") + (" such" if filtered else "")
    verb = "row is" if rows < 2 else "rows are"  # noqa: PLR2004 - singular or plural
    print_line(console, f"{which} {verb} stuck; {_as_of(report)}")
    if report.checked_at and report.judged_every:
        every = rough(report.judged_every)
        print_line(
            console, f"passes judge each row every {every}: --check asks about all now", style="dim"
        )
    for line in _unknown(report):
        print_line(console, line, style="yellow")


def _as_of(report: StuckReport) -> str:
    if report.scanned is not None:
        return f"Temporal was asked about {plural(report.scanned, 'running row')}"
    if report.checked_at is None:
        return "no pass of `run` or `once` has ended yet"
    return f"as of the pass that ended {_age(report, report.checked_at)} ago"


def _age(report: StuckReport, since: datetime) -> str:
    return rough(max(report.now - since, timedelta()))


def _unknown(report: StuckReport) -> Iterator[str]:
    if report.never_checked:
        yield "rows are running: start `reconciler run`, or ask Temporal with --check"
    if report.unknown:
        yield f"{plural(report.unknown, 'row')} could not be judged, see the log"
    if report.undecided:
        yield (
            f"{plural(report.undecided, 'row')} would take more calls than a pass may make: "
            "`reconciler explain` asks about one"
        )
    for warning in report.warnings:
        yield f"warning: {warning}"
