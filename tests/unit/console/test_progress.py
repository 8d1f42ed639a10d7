"""The progress of a backfill, by a clock that the test sets."""

from __future__ import annotations

import io
from collections import Counter
from datetime import timedelta

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from reconciler.console.progress import LINE_EVERY, Lines, ProgressRate, show_progress
from reconciler.core.model import LeaveReason
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from tests.support.factories import NOW


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def report(scanned: int, **fields: object) -> PassReport:
    made = PassReport("id", PassRequest("backfill"), started_at=NOW)
    made.done.scanned = scanned
    for name, value in fields.items():
        setattr(made if name == "progress" else made.done, name, value)
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rows_per_second_and_the_time_left(clock: Clock) -> None:
    rate = ProgressRate(1000, clock)
    rate.begin(report(0))
    assert rate.time_left is None

    clock.now += 4
    rate.update(report(200))

    assert rate.per_second == 50
    assert rate.time_left == timedelta(seconds=16)


def test_rows_of_an_earlier_process_do_not_count(clock: Clock) -> None:
    rate = ProgressRate(1000, clock)
    rate.begin(report(5000))

    clock.now += 1
    rate.update(report(5100))

    assert (rate.done, rate.per_second) == (100, 100)


def test_rows_to_recheck_are_added(clock: Clock) -> None:
    rate = ProgressRate(100, clock)
    rate.begin(report(0))
    span = Span(None, 100, Tally(left=Counter({LeaveReason.DELETED: 40})))

    rate.update(report(100, progress=Progress(rest=None, to_recheck=[span])))
    assert (rate.done, rate.rows) == (100, 140)

    span.second.written["failed"] = 30
    rate.update(report(100, progress=Progress(rest=None, to_recheck=[span])))
    assert (rate.done, rate.rows) == (130, 140)


def test_more_rows_than_expected_raise_the_total(clock: Clock) -> None:
    rate = ProgressRate(10, clock)
    rate.begin(report(0))

    rate.update(report(12))

    assert (rate.done, rate.rows) == (12, 12)


async def test_without_a_terminal_there_is_a_log_line_every_few_seconds(clock: Clock) -> None:
    lines, events = Lines(ProgressRate(1000, clock)), []
    await lines.on_start(report(0))
    left = Counter({LeaveReason.OPEN: 5, LeaveReason.UNKNOWN: 2})
    for scanned in (100, 200, 300):
        clock.now += LINE_EVERY * 0.6
        with capture_logs() as logged:
            await lines.on_page(report(scanned, written=Counter(failed=7), left=left), ())
        events += logged

    assert events == [
        {
            "event": "progress",
            "log_level": "info",
            "rows": "200/1000",
            "rows_per_second": round(200 / (LINE_EVERY * 1.2), 1),
            "written": 7,
            "left": 5,
            "unknown": 2,
            "time_left": "0:00:48",
        }
    ]


@pytest.mark.parametrize(("dry_run", "word"), [(True, "to write"), (False, "written")])
async def test_on_a_terminal_there_is_a_bar(dry_run: bool, word: str) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    left = Counter({LeaveReason.OPEN: 5, LeaveReason.UNKNOWN: 2})

    with show_progress(console, 1000, dry_run=dry_run) as bar:
        await bar.on_start(report(0))
        await bar.on_page(report(500, written=Counter(failed=7), left=left), ())

    shown = screen.getvalue()
    assert "500/1,000 rows" in shown
    assert f"7 {word}  5 left  2 unknown" in shown
    assert "time left" in shown


def test_without_a_terminal_there_is_no_bar() -> None:
    screen = io.StringIO()

    with show_progress(Console(file=screen), 1000, dry_run=False) as lines:
        assert isinstance(lines, Lines)

    assert screen.getvalue() == ""


def test_a_terminal_that_cannot_redraw_a_line_gets_log_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})

    with show_progress(console, 10, dry_run=False) as progress:
        assert isinstance(progress, Lines)
