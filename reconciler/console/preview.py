"""What a backfill prints before it starts, and what to do after it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from reconciler.app.backfill import Preview
from reconciler.console.screen import print_line
from reconciler.core.report.pass_report import PassReport
from reconciler.core.text import duration, plural, utc


def print_preview(preview: Preview, console: Console) -> None:
    """Print how many rows there are, how long it will take, and which pass is resumed."""
    for line in _lines(preview):
        print_line(console, line)


def _lines(preview: Preview) -> Iterator[str]:
    begun, ahead = preview.begun, preview.ahead
    if begun is not None:
        yield (
            f"resuming pass {begun.pass_id}, started {utc(begun.started_at)}: "
            f"{begun.tally.scanned:,} rows scanned, {begun.changed:,} written; "
            "--restart starts over"
        )
    if preview.planned_at is not None:
        yield (
            f"{plural(preview.rows, 'row')} of {preview.table} to write, "
            f"by the plan of {utc(preview.planned_at)}"
        )
        return
    which = f"{preview.table}, marked running{_bounds(preview)}"
    more = "still to look at: " if begun is not None else ""
    if not ahead.rows:
        yield f"{more}no rows of {which}"
        return
    created = ""
    if ahead.oldest and ahead.newest:
        created = f", created {utc(ahead.oldest)} to {utc(ahead.newest)}"
    yield f"{more}{plural(ahead.rows, 'row')} of {which}{created}"
    yield _duration(preview)


def _duration(preview: Preview) -> str:
    some = plural(preview.rows, "row")
    if not preview.max_rps:
        return f"{some} will be asked about as fast as Temporal answers"
    takes = timedelta(seconds=round(preview.rows / preview.max_rps))
    return (
        f"{some} at {preview.max_rps:g} calls/s: at least {duration(takes)}, "
        "more where workflows failed (two calls) or are missing"
    )


def _bounds(preview: Preview) -> str:
    window = preview.window
    bounds = [
        f"created from {utc(window.since)}" if window.since else "",
        f"created before {utc(window.until)}" if window.until else "",
        f"of type {window.workflow_type}" if window.workflow_type else "",
    ]
    return "".join(f", {bound}" for bound in bounds if bound)


def print_what_next(
    report: PassReport,
    command: Sequence[str],
    output: Path | None,
    console: Console,
    *,
    journal: bool = True,
    target: Sequence[str] = (),
) -> None:
    """Print what the operator can do now, as commands to copy.

    `output` is the file of a dry run; without a `journal`, nothing can be undone or resumed.
    `target`: the option that names the target.
    """
    # --restart would start over, and --dry-run contradicts --apply.
    again = [word for word in command if word not in ("--restart", "--dry-run")]
    given = shlex.join(["reconciler", *again])
    if report.request.dry_run:
        steps = _after_dry_run(report, given, output, target)
    else:
        steps = _next(report, given, journal=journal)
    for line in steps:
        print_line(console, line, style="dim")


def _after_dry_run(
    report: PassReport, command: str, output: Path | None, target: Sequence[str]
) -> Iterator[str]:
    if report.error is not None:
        return
    if output is not None:
        yield f"the rows are in {output}"
    if report.changed and output is None:
        yield f"to write this: {command} --apply"
    elif report.changed and output is not None and output.suffix.lower() == ".jsonl":
        plan = shlex.join(["--plan", str(output), *target])
        yield f"to write exactly this: reconciler backfill --apply {plan}"
    if report.more_left:
        yield "the rows after these were not scanned"


def _next(report: PassReport, command: str, *, journal: bool) -> Iterator[str]:
    if report.more_left and report.progress is not None:
        again = "to resume" if journal else "to scan all running rows again"
        yield f"more is left; {again}: {command}"
    if report.held_back:
        yield "held back: check cluster and namespace; --force writes them anyway"
    if report.changed and journal:
        yield f"to take it back: reconciler undo {report.pass_id}"
