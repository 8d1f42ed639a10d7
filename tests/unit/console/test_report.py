from __future__ import annotations

import io
from datetime import timedelta

from rich.console import Console

from reconciler.console.report import print_report
from reconciler.core.model import LeaveReason
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.window import AgeSpread
from tests.support.factories import NOW, finish, row


def printed(report: PassReport, width: int = 100) -> str:
    output = io.StringIO()
    print_report(report, Console(file=output, width=width))
    return output.getvalue()


def report(*, dry_run: bool = False) -> PassReport:
    return PassReport("p-1", PassRequest("once", dry_run=dry_run), started_at=NOW)


def test_a_status_value_is_printed_literally() -> None:
    folded = report()
    folded.done.add_written([finish(row(1), status="[/red]")], written={1})

    assert "written  [/red]  1" in printed(folded)


def test_a_dry_run_says_so() -> None:
    assert "would write" in printed(report(dry_run=True))
    assert "nothing was written" in printed(report(dry_run=True))


def test_held_back_rows_are_reported() -> None:
    folded = report()
    folded.held_back = 30

    assert "held back" in printed(folded)
    assert "unresolved" in printed(folded)


def test_open_rows_that_were_not_described_are_reported() -> None:
    folded = report()
    folded.done.left[LeaveReason.OPEN] = 30
    assert "visibility" not in printed(folded)
    folded.done.screened = 28

    assert "28 of them by visibility alone, not described" in printed(folded)


def test_rows_that_the_database_refused_were_judged() -> None:
    folded = report()
    folded.done.add_written([finish(row(1))], written=(), refused={1})
    assert "unknown  1  refused by the database, see the log" in printed(folded)

    folded.done.left[LeaveReason.UNKNOWN] += 2
    assert "3  could not be judged; 1 of them refused by the database" in printed(folded)


def test_counts_are_aligned_and_lines_neither_wrapped_nor_padded() -> None:
    folded = report()
    folded.done.add_written([finish(row(1))], written={1})
    folded.done.left[LeaveReason.OPEN] = 1234
    folded.done.missing[LeaveReason.EXPIRED] = AgeSpread(2, NOW - timedelta(days=400), NOW)
    folded.done.left[LeaveReason.EXPIRED] = 2

    written, still, expired, total, _ = printed(folded, width=30).split("\n")

    assert written == "written  completed     1"
    assert still == "left     open       1234  still open in Temporal"
    assert expired == (
        "         expired       2  not in Temporal, and older than its retention, "
        "created 2025-10-19 to 2026-11-23"
    )
    assert total.startswith("ok: 0 rows in 0.00 s, calls to Temporal: none, pass p-1")


def test_within_one_day_the_times_are_shown() -> None:
    folded = report()
    folded.done.missing[LeaveReason.DELETED] = AgeSpread(2, NOW - timedelta(minutes=1), NOW)

    assert "missing  deleted  2  created 2026-11-23T11:59:00Z to 2026-11-23T12:00:00Z" in printed(
        folded
    )
