"""Progress of a pass: a bar on a terminal, a log line every few seconds elsewhere."""

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
from reconciler.core.ports import Observer, PassView

#: Seconds between two lines where there is no terminal.
LINE_EVERY = 10.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Pace:
    """How many of the rows are done, and how fast."""

    rows: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _scanned_before: int | None = None
    _again: int | None = None
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def begin(self, report: PassView) -> None:
        """What an earlier process has done is not this one's pace."""
        self._scanned_before = report.tally.scanned

    def note(self, report: PassView) -> None:
        """Take in what the report says by now; rows of the second look come on top."""
        done = report.tally.scanned - (self._scanned_before or 0)
        if ahead := report.to_recheck:
            if self._again is None:
                self._again, self.rows = ahead, done + ahead
            done += self._again - ahead
        self.done, self.rows = done, max(self.rows, done)

    @property
    def per_second(self) -> float:
        """Rows per second since the beginning."""
        return self.done / max(self.clock() - self._started, 1e-3)

    @property
    def time_left(self) -> timedelta | None:
        """Until all are done at this pace; None if that is not known yet."""
        if not self.done:
            return None
        return timedelta(seconds=round((self.rows - self.done) / self.per_second))


class Bar(Observer):
    """A progress bar on a terminal."""

    def __init__(self, bar: Progress, pace: Pace, *, dry_run: bool) -> None:
        self._bar, self._pace, self._dry_run = bar, pace, dry_run
        self._task: TaskID = bar.add_task("", total=pace.rows, counts="")

    async def on_start(self, report: PassView) -> None:
        """Begin."""
        self._pace.begin(report)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Move on."""
        self._pace.note(report)
        self._bar.update(
            self._task,
            completed=self._pace.done,
            total=self._pace.rows,
            counts=_counts(report, self._pace, dry_run=self._dry_run),
        )


class Lines(Observer):
    """A log line now and then."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._logged_at = pace.clock()

    async def on_start(self, report: PassView) -> None:
        """Begin."""
        self._pace.begin(report)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Log the progress, if the last line was some time ago."""
        self._pace.note(report)
        now = self._pace.clock()
        if now - self._logged_at < LINE_EVERY:
            return
        self._logged_at = now
        left, tally = self._pace.time_left, report.tally
        log.info(
            "progress",
            rows=f"{self._pace.done}/{self._pace.rows}",
            rows_per_second=round(self._pace.per_second, 1),
            written=tally.written.total(),
            left=tally.left.total() - tally.left[LeaveReason.UNKNOWN],
            unknown=tally.left[LeaveReason.UNKNOWN],
            time_left=None if left is None else str(left),
        )


@contextmanager
def watching(console: Console, rows: int, *, dry_run: bool) -> Iterator[Observer]:
    """Show the progress over that many rows on this console; results go to another one."""
    pace = Pace(rows)
    if not console.is_terminal:
        yield Lines(pace)
        return
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[counts]}"),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Bar(bar, pace, dry_run=dry_run)


def _counts(report: PassView, pace: Pace, *, dry_run: bool) -> str:
    tally = report.tally
    written = "to write" if dry_run else "written"
    unknown = tally.left[LeaveReason.UNKNOWN]
    return (
        f"{pace.per_second:,.0f}/s  {tally.written.total():,} {written}  "
        f"{tally.left.total() - unknown:,} left  {unknown:,} unknown"
    )
