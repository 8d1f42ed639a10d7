"""What the commands print for people: a few short tables, coloured on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.app import Explanation
from reconciler.core.model import (
    Closed,
    Finish,
    Leave,
    LeaveReason,
    Missing,
    Observation,
    Open,
    Unknown,
)
from reconciler.core.report import RPC_KINDS, PassOutcome, PassReport

_WHY_LEFT = {
    LeaveReason.OPEN: "still open in Temporal",
    LeaveReason.TOO_YOUNG: "not in Temporal, but young enough to be about to start",
    LeaveReason.NEVER_STARTED: "not in Temporal, though within its retention",
    LeaveReason.EXPIRED: "not in Temporal, and older than its retention",
    LeaveReason.UNKNOWN: "could not be judged, see the log",
}
_COLOURS = {
    PassOutcome.OK: "green",
    PassOutcome.UNRESOLVED: "yellow",
    PassOutcome.ABORTED: "red",
}


def print_report(report: PassReport, console: Console) -> None:
    """The counts of a pass, reasons included."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for group, name, count, why in _lines(report):
        table.add_row(group, Text(name), str(count), why)
    console.print(table)
    rows = f"{report.scanned} row{'' if report.scanned == 1 else 's'}"
    counts = [f"{report.rpcs[kind]} {kind}" for kind in RPC_KINDS if report.rpcs[kind]]
    calls = ", ".join(counts) or "none"
    console.print(
        Text.assemble(
            (report.outcome.value, _COLOURS[report.outcome]),
            f": {rows} in {report.duration_seconds:.2f} s, calls to Temporal: {calls}",
            (f", pass {report.pass_id}" if not report.dry_run else ", nothing was written"),
        ),
        soft_wrap=True,
    )


def _lines(report: PassReport) -> Iterator[tuple[str, str, int, str]]:
    group = "would write" if report.dry_run else "written"
    for status, count in sorted(report.written.items()) or [("", 0)]:
        yield group, status, count, ""
        group = ""
    group = "left"
    for reason in LeaveReason:
        if reason is not LeaveReason.UNKNOWN and report.left[reason]:
            yield group, reason.value.replace("_", " "), report.left[reason], _WHY_LEFT[reason]
            group = ""
    if report.unknown:
        yield "unknown", "", report.unknown, _WHY_LEFT[LeaveReason.UNKNOWN]
    if report.lost_races:
        yield "lost races", "", report.lost_races, "finished, or being written, by someone else"
    if report.held_back:
        why = "most rows are missing in Temporal: is this the right namespace?"
        yield "held back", "", report.held_back, why


def print_explanations(explanations: Sequence[Explanation], console: Console) -> None:
    """Row, Temporal's answer and verdict, one block per row."""
    for explanation in explanations:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in _explain(explanation):
            table.add_row(name, Text(text))
        console.print(table)
        console.print()


def _explain(explanation: Explanation) -> Iterator[tuple[str, str]]:
    stored = explanation.stored
    row = stored.row
    created = "an unknown time" if row.created_at is None else row.created_at.isoformat()
    yield "row", f"{row.id}, created {created}, run id {row.run_id or 'not stored'}"
    yield "status", stored.status
    if stored.completed_at:
        yield "completed at", stored.completed_at.isoformat()
    if stored.error_message:
        yield "error", stored.error_message
    yield "Temporal", describe_observation(explanation.observation)
    yield "verdict", _describe_verdict(explanation)


def describe_observation(observation: Observation) -> str:
    """What Temporal says, in a line."""
    match observation:
        case Open(status):
            return f"open ({status})"
        case Closed():
            end = f"{observation.status} at {observation.close_time.isoformat()}"
            text = f": {observation.failure}" if observation.failure else ""
            return f"{end}, run {observation.run_id}{text}"
        case Missing(detail):
            return f"not found: {detail}"
        case Unknown(cause):
            return f"cannot tell: {cause}"
        case _:
            assert_never(observation)


def _describe_verdict(explanation: Explanation) -> str:
    if not explanation.running:
        return "none: the row is not marked as running, so no pass looks at it"
    match explanation.verdict:
        case Finish(outcome):
            return f"finish as {outcome.status!r}"
        case Leave(reason=reason):
            return f"leave: {_WHY_LEFT[reason]}"
        case _:
            assert_never(explanation.verdict)
