"""The counts of a pass, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from reconciler.console.screen import shown
from reconciler.core.model import LeaveReason
from reconciler.core.report import RPC_KINDS, PassOutcome, PassReport
from reconciler.core.tally import Tally
from reconciler.core.text import plural
from reconciler.core.window import AgeSpread

#: Each reason in words.
WHY_LEFT = {
    LeaveReason.OPEN: "still open in Temporal",
    LeaveReason.TOO_YOUNG: "not in Temporal, but young enough to be about to start",
    LeaveReason.NEVER_STARTED: "not in Temporal, though within its retention",
    LeaveReason.DELETED: "was in Temporal once, and is gone within its retention",
    LeaveReason.EXPIRED: "not in Temporal, and older than its retention",
    LeaveReason.UNKNOWN: "could not be judged, see the log",
}
#: An outcome at a glance.
COLOURS = {
    PassOutcome.OK: "green",
    PassOutcome.UNRESOLVED: "yellow",
    PassOutcome.ABORTED: "red",
}


def print_counts(lines: Iterable[tuple[str, str, int, str]], console: Console) -> None:
    """A line per group, name, count and explanation."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for group, name, count, why in lines:
        table.add_row(group, shown(name), str(count), shown(why))
    console.print(table)


def print_report(report: PassReport, console: Console) -> None:
    """The counts of a pass, reasons included."""
    print_counts(_lines(report), console)
    rows = plural(report.tally.scanned, "row")
    counts = [f"{report.rpcs[kind]} {kind}" for kind in RPC_KINDS if report.rpcs[kind]]
    calls = ", ".join(counts) or "none"
    console.print(
        shown(
            (report.outcome.value, COLOURS[report.outcome]),
            f": {rows} in {report.duration_seconds:.2f} s, calls to Temporal: {calls}",
            (f", pass {report.pass_id}" if not report.request.dry_run else ", nothing was written"),
        ),
        soft_wrap=True,
    )


def _failed_as_missing(tally: Tally) -> Iterator[tuple[str, str, int, str]]:
    """Which rows Temporal did not know, apart from those that are told as left."""
    group = "missing"
    for reason, spread in tally.missing.items():
        failed = spread.rows - tally.left[reason]
        if failed > 0:
            yield group, reason.value.replace("_", " "), failed, f"created {_between(spread)}"
            group = ""


def _between(spread: AgeSpread) -> str:
    # Rows without a creation time are unknown, never missing.
    times = [time for time in (spread.oldest, spread.newest) if time is not None]
    days = [f"{time:%Y-%m-%d}" for time in times]
    minutes = [f"{time:%Y-%m-%d %H:%M}Z" for time in times]
    return " to ".join(dict.fromkeys(minutes if len(set(days)) == 1 else days))


def _lines(report: PassReport) -> Iterator[tuple[str, str, int, str]]:
    group = "would write" if report.request.dry_run else "written"
    tally = report.tally
    for status, count in sorted(tally.written.items()) or [("", 0)]:
        yield group, status, count, ""
        group = ""
    yield from _failed_as_missing(tally)
    group = "left"
    for reason in LeaveReason:
        if reason is not LeaveReason.UNKNOWN and tally.left[reason]:
            spread = tally.missing.get(reason)
            created = f", created {_between(spread)}" if spread and spread.rows else ""
            why = WHY_LEFT[reason] + created
            if reason is LeaveReason.OPEN and tally.screened:
                why += f", {tally.screened} of them as visibility shows them"
            yield group, reason.value.replace("_", " "), tally.left[reason], why
            group = ""
    if report.unknown:
        yield "unknown", "", report.unknown, WHY_LEFT[LeaveReason.UNKNOWN]
    if tally.lost_races:
        yield "lost races", "", tally.lost_races, "finished, or being written, by someone else"
    if report.held_back:
        why = "most rows are missing in Temporal: is this the right namespace?"
        yield "held back", "", report.held_back, why
