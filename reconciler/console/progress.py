"""The progress of a pass: a bar on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from reconciler.core.model import LeaveReason, Verdict
from reconciler.core.observer import Observer, PassView

#: Seconds between two log lines.
LINE_EVERY = 10.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ProgressRate:
    """How many rows are done, and how fast."""

    rows: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _scanned_before: int = 0
    #: Rows to recheck, once they are known.
    _recheck: int | None = None
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def begin(self, report: PassView) -> None:
        """Start counting; rows that an earlier process has scanned do not count."""
        self._scanned_before = report.tally.scanned

    def update(self, report: PassView) -> None:
        """Update the counts; rows that are checked twice count twice."""
        done = report.tally.scanned - self._scanned_before
        if ahead := report.to_recheck:
            if self._recheck is None:
                self._recheck, self.rows = ahead, done + ahead
            done += self._recheck - ahead
        self.done, self.rows = done, max(self.rows, done)

    @property
    def per_second(self) -> float:
        """Rows per second since the start."""
        return self.done / max(self.clock() - self._started, 1e-3)

    @property
    def time_left(self) -> timedelta | None:
        """The time until all rows are done, at this rate; None until a row is done."""
        if not self.done:
            return None
        return timedelta(seconds=round((self.rows - self.done) / self.per_second))


class Bar(Observer):
    """A progress bar on a terminal."""

    def __init__(self, bar: Progress, rate: ProgressRate, *, dry_run: bool) -> None:
        self._bar, self._rate, self._dry_run = bar, rate, dry_run
        self._task: TaskID = bar.add_task("", total=rate.rows, counts="")

    async def on_start(self, report: PassView) -> None:
        """Start counting."""
        self._rate.begin(report)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Move the bar."""
        self._rate.update(report)
        self._bar.update(
            self._task,
            completed=self._rate.done,
            total=self._rate.rows,
            counts=_counts(report, self._rate, dry_run=self._dry_run),
        )


class Lines(Observer):
    """A log line every few seconds."""

    def __init__(self, rate: ProgressRate) -> None:
        self._rate = rate
        self._logged_at = rate.clock()

    async def on_start(self, report: PassView) -> None:
        """Start counting."""
        self._rate.begin(report)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Log the progress, unless there was a line a moment ago."""
        self._rate.update(report)
        now = self._rate.clock()
        if now - self._logged_at < LINE_EVERY:
            return
        self._logged_at = now
        left, tally = self._rate.time_left, report.tally
        log.info(
            "progress",
            rows=f"{self._rate.done}/{self._rate.rows}",
            rows_per_second=round(self._rate.per_second, 1),
            written=tally.written.total(),
            left=tally.left.total() - tally.left[LeaveReason.UNKNOWN],
            unknown=tally.left[LeaveReason.UNKNOWN],
            time_left=None if left is None else str(left),
        )


@contextmanager
def show_progress(console: Console, rows: int, *, dry_run: bool) -> Iterator[Observer]:
    """Show the progress over this many rows; results must go to another console."""
    rate = ProgressRate(rows)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(rate)
        return
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[counts]}"),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Bar(bar, rate, dry_run=dry_run)


def _counts(report: PassView, rate: ProgressRate, *, dry_run: bool) -> str:
    tally = report.tally
    written = "to write" if dry_run else "written"
    unknown = tally.left[LeaveReason.UNKNOWN]
    return (
        f"{rate.per_second:,.0f}/s  {tally.written.total():,} {written}  "
        f"{tally.left.total() - unknown:,} left  {unknown:,} unknown"
    )
