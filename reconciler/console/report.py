"""The counts of a pass, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console

from reconciler.console.screen import print_aligned, print_line
from reconciler.core.model import LeaveReason
from reconciler.core.report.pass_report import RPC_KINDS, PassOutcome, PassReport, Report
from reconciler.core.report.tally import Tally
from reconciler.core.report.why_left import WHY_LEFT
from reconciler.core.text import plural, utc
from reconciler.core.window import AgeSpread
from reconciler.passes.breaker import MIN_ROWS

#: The colours of outcomes.
_COLOURS = {
    PassOutcome.OK: "green",
    PassOutcome.UNRESOLVED: "yellow",
    PassOutcome.ABORTED: "red",
}


def print_counts(lines: Iterable[tuple[str, str, int, str]], console: Console) -> None:
    """Print a line per count: its group, name, value and explanation."""
    cells = [(group, name, str(count), why) for group, name, count, why in lines]
    print_aligned(cells, ("bold", "", "", "dim"), console, right=2)


def print_report(report: PassReport, console: Console) -> None:
    """Print the counts of a pass with their reasons."""
    print_counts(_lines(report), console)
    for warning in report.warnings:
        print_line(console, ("warning", "yellow"), f"  {warning}")
    rows = plural(report.tally.scanned, "row")
    counts = [f"{report.rpcs[kind]} {kind}" for kind in RPC_KINDS if report.rpcs[kind]]
    calls = ", ".join(counts) or "none"
    text = f"{rows} in {report.duration_seconds:.2f} s, calls to Temporal: {calls}"
    print_outcome(report, text, console)


def print_outcome(report: Report, text: str, console: Console) -> None:
    """Print the last line of a report: the outcome, this text, and the id of the pass."""
    end = "nothing was written" if report.request.dry_run else f"pass {report.pass_id}"
    print_line(console, (report.outcome.value, _COLOURS[report.outcome]), f": {text}, {end}")


def _failed_as_missing(tally: Tally) -> Iterator[tuple[str, str, int, str]]:
    """The rows that Temporal did not know and that were failed."""
    group = "missing"
    for reason, spread in tally.missing.items():
        failed = spread.rows - tally.left[reason]
        if failed > 0:
            yield group, reason.value.replace("_", " "), failed, f"created {_between(spread)}"
            group = ""


def _between(spread: AgeSpread) -> str:
    """The first and the last day, or the times if that is the same day."""
    # Rows without a creation time are unknown, never missing.
    times = [utc(time) for time in (spread.oldest, spread.newest) if time is not None]
    days = [time.partition("T")[0] for time in times]
    return " to ".join(dict.fromkeys(times if len(set(days)) == 1 else days))


def _why_unknown(unknown: int, refused: int) -> str:
    """Why rows are unknown; those that the database `refused` were judged."""
    if not refused:
        return WHY_LEFT[LeaveReason.UNKNOWN]
    refusal = "refused by the database, see the log"
    return refusal if refused == unknown else f"could not be judged; {refused} of them {refusal}"


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
                why += f"; {tally.screened} of them by visibility alone, not described"
            yield group, reason.value.replace("_", " "), tally.left[reason], why
            group = ""
    if report.unknown:
        yield "unknown", "", report.unknown, _why_unknown(report.unknown, tally.refused)
    if tally.lost_races:
        why = "no longer running, or being written by another process"
        yield "lost races", "", tally.lost_races, why
    if report.held_back:
        few = report.tally.asked_about < MIN_ROWS
        why = "no workflow was ever found" if few else "most rows are missing in Temporal"
        why += ": is this the right namespace?"
        yield "held back", "", report.held_back, why
