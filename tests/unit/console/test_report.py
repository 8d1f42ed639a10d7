from __future__ import annotations

import io

from rich.console import Console

from reconciler.console.report import print_report
from reconciler.core.model import LeaveReason
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from tests.support.factories import NOW, finish, row


def printed(report: PassReport) -> str:
    output = io.StringIO()
    print_report(report, Console(file=output, width=100))
    return output.getvalue()


def report(*, dry_run: bool = False) -> PassReport:
    return PassReport("p-1", PassRequest("once", dry_run=dry_run), started_at=NOW)


def test_a_status_value_is_printed_as_it_is() -> None:
    folded = report()
    folded.done.add_written([finish(row(1), status="[/red]")], written={1})

    assert "written  [/red]  1" in printed(folded)


def test_a_dry_run_says_so() -> None:
    assert "would write" in printed(report(dry_run=True))
    assert "nothing was written" in printed(report(dry_run=True))


def test_what_was_held_back_is_told() -> None:
    folded = report()
    folded.held_back = 30

    assert "held back" in printed(folded)
    assert "unresolved" in printed(folded)


def test_of_open_rows_it_is_told_how_many_were_not_described() -> None:
    folded = report()
    folded.done.left[LeaveReason.OPEN] = 30
    assert "visibility" not in printed(folded)
    folded.done.screened = 28

    assert "28 of them as visibility shows them" in printed(folded)
