"""What `stuck` prints for people."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from reconciler.app.stuck.report import StuckReport
from reconciler.console.stuck import GROUPS, StuckTable, print_end, print_groups
from reconciler.core.stuck.condition import StuckRow
from reconciler.core.stuck.summary import Summary
from reconciler.core.table_warnings import TableWarning, WarningCode
from tests.support.factories import NOW
from tests.support.stuck import stuck_for

ENDED = NOW - timedelta(minutes=2)


def report(*rows: StuckRow, **fields: Any) -> StuckReport:
    summed = Summary()
    for row in rows:
        summed.add(row)
    given = {"now": NOW, "checked_at": ENDED, "all_groups": len(summed.groups), **fields}
    return StuckReport(rows=summed.rows, groups=summed.groups, **given)


def printed(found: StuckReport, *rows: StuckRow, filtered: bool = False, limit: int = 9) -> str:
    output = io.StringIO()
    console = Console(file=output, width=80)
    print_groups(found, console)
    table = StuckTable(console, limit)
    table.add(rows)
    if rows:
        table.end(["stuck"])
    print_end(found, console, filtered=filtered)
    return output.getvalue()


def test_groups_come_first_then_rows() -> None:
    rows = [stuck_for(3), stuck_for(1)]

    assert printed(report(*rows), *rows).splitlines() == [
        "2 rows: ActivityRetrying charge: card N declined, oldest 3 h (Order)",
        "",
        "since                 reason            type   workflow  why",
        *(
            f"2026-11-23T{hour}:00:00Z  ActivityRetrying  Order  wf-{number}      "
            f"charge: card {number} declined (attempt 7)"
            for number, hour in ((3, "09"), (1, "11"))
        ),
        "2 rows are stuck; as of the pass that ended 2 min ago",
    ]


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, "no row is stuck; as of the pass that ended 2 min ago"),
        (
            {"judged_every": timedelta(minutes=10)},
            (
                "no row is stuck; as of the pass that ended 2 min ago\n"
                "passes judge each row every 10 min: --check asks about all now"
            ),
        ),
        ({"scanned": 1200}, "no row is stuck; Temporal was asked about 1,200 running rows"),
        ({"checked_at": None}, "no row is stuck; no pass of `run` or `once` has ended yet"),
    ],
)
def test_nothing_is_stuck(fields: dict[str, Any], end: str) -> None:
    assert printed(report(**fields)) == f"{end}\n"


def test_what_is_not_known_is_said() -> None:
    warning = TableWarning(WarningCode.NO_CONFIGURED_STATUS, "no row has it", "set it")
    found = report(unknown=1, undecided=2, never_checked=True, warnings=[warning])

    lines = printed(found, filtered=True).splitlines()

    assert lines[0].startswith("no such row is stuck; ")
    assert "--check" in lines[1]
    assert lines[2:] == [
        "1 row could not be judged, see the log",
        "2 rows would take more calls than a pass may make: `reconciler explain` asks about one",
        "warning: no row has it: set it",
    ]
    assert not found.is_certain
    assert report().is_certain


def test_more_groups_and_rows_than_are_shown() -> None:
    rows = [stuck_for(number, cause=f"cause {number}") for number in range(1, GROUPS + 4)]

    lines = printed(report(*rows), *rows[:3], limit=2).splitlines()

    assert lines[GROUPS] == "3 more groups, with 3 rows"
    assert lines[-2] == "there are more: reconciler stuck --limit N, or --json"


def test_texts_stay_on_their_line_and_cannot_command_a_terminal() -> None:
    row = stuck_for(1, text="bad\x1b[2J\nnews", workflow_id="a\nb", cause="\x1b]0;x\x07")

    text = printed(report(row), row)

    assert len(text.splitlines()) == 5
    assert "\x1b" not in text
