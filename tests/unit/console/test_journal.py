"""What `passes`, `changes` and `undo` print."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from rich.console import Console

from reconciler.app.overview.words import TEXT
from reconciler.console.journal import ChangeTable, PassTable, print_undo
from reconciler.core.policy import StatusValues
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import SkipReason, UndoReport
from reconciler.postgres.journal.entries import StoredChange, StoredPass, Values
from tests.support.factories import CLOSE_TIME, NOW

ID = UUID("0e295662-de0c-44e7-8d52-c43d2d388018")


def paper() -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=40), output


def a_pass(**fields: Any) -> StoredPass:
    report = {"duration_seconds": 1.26, "scanned": 120, "written": {"completed": 80, "failed": 0}}
    given = StoredPass(
        id=ID,
        mode="once",
        table="jobs",
        namespace="default",
        started_at=NOW,
        finished_at=NOW,
        outcome="ok",
        error=None,
        host="host",
        version="1",
        asked=None,
        report=report,
    )
    return replace(given, **fields)


def a_change(**fields: Any) -> StoredChange:
    given = StoredChange(
        id=9,
        pass_id=ID,
        changed_at=NOW,
        table="jobs",
        row_id="3",
        workflow_id="wf",
        run_id="run",
        old=Values("running", None, None),
        new=Values("failed", CLOSE_TIME, "boom"),
        temporal_status="FAILED",
        final_run_id="run",
        close_time=CLOSE_TIME,
        found_by="feed",
        workflow_type="Order",
    )
    return replace(given, **fields)


def passes(*pages: Sequence[StoredPass], limit: int = 20) -> list[str]:
    console, output = paper()
    table = PassTable(console, limit)
    for page in pages:
        table.add(page)
    table.end(["passes"])
    return output.getvalue().splitlines()


def changes(*pages: Sequence[StoredChange], limit: int = 50) -> list[str]:
    console, output = paper()
    table = ChangeTable(console, limit)
    for page in pages:
        table.add(page)
    table.end(["changes", "--workflow-id", "a b"])
    return output.getvalue().splitlines()


def test_a_pass_is_one_line_on_a_narrow_terminal() -> None:
    head, line = passes([a_pass()])

    assert head.endswith("  started               mode  outcome  seconds  scanned  written")
    assert line == f"{ID}  2026-11-23T12:00:00Z  once  ok           1.3      120  completed 80"


def test_written_counts_are_sorted_and_zeroes_left_out() -> None:
    _, line = passes([a_pass(report={"written": {"failed": 12, "completed": 80, "stopped": 0}})])

    assert line.endswith("  completed 80, failed 12")


def test_a_pass_that_has_not_ended_is_unfinished() -> None:
    _, line = passes([a_pass(outcome=None, finished_at=None, report=None)])

    assert line == f"{ID}  2026-11-23T12:00:00Z  once  unfinished"


def test_table_and_namespace_are_shown_if_they_differ() -> None:
    same = passes([a_pass(), a_pass()])
    several = passes([a_pass(), a_pass(namespace="other")])

    assert "default" not in "".join(same)
    assert [line.split()[-2:] for line in several] == [
        ["table", "namespace"],
        ["jobs", "default"],
        ["jobs", "other"],
    ]


def test_the_options_and_the_error_of_a_pass_are_shown() -> None:
    asked = {"since": "90d", "until": None, "workflow_type": "Provision", "missing": "fail"}
    _, backfill, undo = passes(
        [
            a_pass(mode="backfill", asked=asked, outcome="aborted", error="no\ndatabase"),
            a_pass(mode="undo", asked={"undo": str(ID)}),
        ]
    )

    assert re.search("  since 90d, type Provision, missing fail {2,}no database$", backfill)
    assert undo.endswith(f"undo of {ID}")


def test_beyond_the_limit_a_line_says_how_to_see_more() -> None:
    lines = passes([a_pass()] * 3, [a_pass()], limit=2)

    assert len(lines) == 1 + 2 + 1
    assert lines[-1] == "there are more: reconciler passes --limit N, --mode MODE, or --json"
    assert len(passes([a_pass()] * 2, limit=2)) == 1 + 2
    assert passes() == ["no passes"]


def test_columns_grow_from_page_to_page_with_a_single_heading() -> None:
    head, first, second = changes([a_change()], [a_change(row_id="a long one")])

    assert head.startswith("changed ")
    assert "  3    wf" in first
    assert "  a long one  wf" in second


def test_a_change_shows_both_statuses_and_the_evidence() -> None:
    _, failed, undone = changes(
        [
            a_change(),
            a_change(
                old=Values("failed", CLOSE_TIME, "boom"),
                new=Values("running", None, None),
                temporal_status="UNDO",
            ),
        ]
    )

    assert failed.endswith("running → failed  2026-11-23T11:59:58Z  FAILED: boom")
    assert undone.endswith("failed → running" + " " * 24 + "UNDO")


def test_long_texts_and_line_breaks_stay_on_one_line() -> None:
    message, id_ = "x" * 3000, "[bold]a\nb\x1b[31m"
    _, line = changes([a_change(workflow_id=id_, new=Values("failed", None, message))])

    assert "[bold]a b [31m" in line
    assert line.endswith("…")
    assert len(line) < 2 * TEXT


def test_the_command_for_more_changes_can_be_copied() -> None:
    lines = changes([a_change()] * 2, limit=1)

    assert lines[-1] == (
        "there are more: reconciler changes --workflow-id 'a b' --limit N, or --json"
    )


def undone(*, dry_run: bool = False) -> UndoReport:
    return UndoReport("p-2", PassRequest("undo", dry_run=dry_run), started_at=NOW, undone="p-1")


def printed(report: UndoReport) -> str:
    output = io.StringIO()
    print_undo(report, StatusValues(), Console(file=output, width=100))
    return output.getvalue()


def test_an_undo_prints_its_counts_all_reasons_and_the_next_steps() -> None:
    report = undone()
    report.scanned = 10
    report.written["running"] += 4
    report.left.update(dict.fromkeys(SkipReason, 1))
    text = printed(report)

    assert "put back  running" in text
    for words in ("as before", "changed", "reused", "gone", "locked", "refused"):
        assert words in text
    assert "unresolved: 10 changes of pass p-1 in 0.00 s, pass p-2" in text
    assert "a pass of `once` or `run` would finish these rows again" in text
    assert "to take it back: reconciler undo p-2" in text


def test_no_warning_if_no_row_runs_again() -> None:
    report = undone()
    report.scanned = report.written["failed"] = 1

    assert "finish these rows again" not in printed(report)


def test_an_undo_that_wrote_nothing_cannot_be_undone() -> None:
    report = undone()
    report.scanned = report.left[SkipReason.AS_BEFORE] = 1

    assert "take it back" not in printed(report)


def test_a_dry_run_of_an_undo_says_so() -> None:
    report = undone(dry_run=True)
    report.scanned = report.written["running"] = 1
    text = printed(report)

    assert "would put back" in text
    assert "nothing was written" in text
    assert "take it back" not in text


def test_the_undo_of_a_pass_without_changes_is_one_line() -> None:
    assert printed(undone()) == "pass p-1 changed nothing\n"


def test_columns_are_as_wide_as_their_escaped_text() -> None:
    console, output = paper()

    ChangeTable(console, 2).add([a_change(workflow_id="\u202ex"), a_change(workflow_id="y")])

    _, escaped, plain = output.getvalue().splitlines()
    assert "\\u202ex" in escaped
    assert escaped.index(" → ") == plain.index(" → ")
