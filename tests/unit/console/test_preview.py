"""What a backfill prints before and after its pass."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reconciler.app.backfill import Preview
from reconciler.console.preview import print_preview, print_what_next
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from reconciler.core.window import AgeSpread, Window
from tests.support.factories import NOW

DAY = timedelta(days=1)


def preview(**fields: Any) -> list[str]:
    given: dict[str, Any] = {
        "table": "jobs",
        "window": Window(),
        "ahead": AgeSpread(2_000_000, NOW - 9 * DAY, NOW - DAY),
        "rows": 2_000_000,
        "max_rps": 100,
        "apply": True,
        "begun": None,
    }
    screen = io.StringIO()
    print_preview(Preview(**{**given, **fields}), Console(file=screen, width=80))
    return screen.getvalue().splitlines()


def next_steps(
    command: list[str],
    output: str | None = None,
    *,
    journal: bool = True,
    target: Sequence[str] = (),
    **fields: Any,
) -> list[str]:
    request = PassRequest("backfill", fields.pop("dry_run", False))
    done = Tally(written=fields.pop("written", Counter()))
    report = PassReport("p-1", request, NOW, done=done, **{"progress": Progress(), **fields})
    screen = io.StringIO()
    kept = None if output is None else Path(output)
    console = Console(file=screen, width=80)
    print_what_next(report, command, kept, console, journal=journal, target=target)
    return screen.getvalue().splitlines()


def test_how_many_rows_and_how_long() -> None:
    assert preview() == [
        (
            "2,000,000 rows of jobs, marked running, created 2026-11-14T12:00:00Z to "
            "2026-11-22T12:00:00Z"
        ),
        (
            "2,000,000 rows at 100 calls/s: at least 5.56 h, more where workflows failed "
            "(two calls) or are missing"
        ),
    ]


@pytest.mark.parametrize(
    ("rows", "takes"),
    [(100, "at least 1 s"), (30_000, "at least 5 min"), (360_000, "at least 60 min")],
)
def test_durations_of_every_length(rows: int, takes: str) -> None:
    assert takes in preview(rows=rows)[1]


def test_without_a_rate_limit_there_is_no_estimate() -> None:
    assert preview(max_rps=0)[1] == (
        "2,000,000 rows will be asked about as fast as Temporal answers"
    )


def test_the_window_is_shown_in_full() -> None:
    window = Window(NOW - 10 * DAY, NOW - DAY, "Order")

    assert (
        "marked running, created from 2026-11-13T12:00:00Z, created before 2026-11-22T12:00:00Z,"
        " of type Order, created" in preview(window=window)[0]
    )


def test_a_plan_is_shown_with_its_time() -> None:
    assert preview(planned_at=NOW - DAY, ahead=AgeSpread(40), rows=40, max_rps=None) == [
        "40 rows of jobs to write, by the plan of 2026-11-22T12:00:00Z"
    ]


def test_nothing_to_do() -> None:
    assert preview(ahead=AgeSpread(), rows=0) == ["no rows of jobs, marked running"]


def test_the_pass_that_is_resumed_is_shown() -> None:
    begun = PassReport("p-0", PassRequest("backfill"), started_at=NOW)
    begun.done.scanned, begun.done.written["failed"] = 5000, 400

    first, second, _ = preview(begun=begun)

    assert first == (
        "resuming pass p-0, started 2026-11-23T12:00:00Z: 5,000 rows scanned, 400 written; "
        "--restart starts over"
    )
    assert second.startswith("still to look at: 2,000,000 rows of jobs")


def test_the_next_step_of_a_dry_run_is_apply() -> None:
    steps = next_steps(
        ["backfill", "--workflow-type", "a b"], dry_run=True, written=Counter(failed=1)
    )

    assert steps == ["to write this: reconciler backfill --workflow-type 'a b' --apply"]


@pytest.mark.parametrize(
    ("output", "steps"),
    [
        (
            "my plan.jsonl",
            [
                "the rows are in my plan.jsonl",
                "to write exactly this: reconciler backfill --apply --plan 'my plan.jsonl'",
            ],
        ),
        ("plan.csv", ["the rows are in plan.csv"]),
    ],
)
def test_the_next_step_of_a_saved_dry_run_is_its_file(output: str, steps: list[str]) -> None:
    command = ["backfill", "--output", output]

    assert next_steps(command, output, dry_run=True, written=Counter(failed=1)) == steps


def test_the_next_step_names_the_target() -> None:
    found: dict[str, Any] = {"dry_run": True, "written": Counter(failed=1)}

    _, step = next_steps(["backfill"], "plan.jsonl", target=["--target", "eu"], **found)

    assert step.endswith(" backfill --apply --plan plan.jsonl --target eu")


def test_a_dry_run_that_found_nothing_has_no_next_step() -> None:
    assert next_steps(["backfill"], dry_run=True) == []


def test_a_dry_run_that_ended_at_its_limit_says_so() -> None:
    steps = next_steps(["backfill"], dry_run=True, progress=Progress(Span(5, 9)))

    assert steps == ["the rows after these were not scanned"]


def test_the_next_step_after_a_limit_is_the_same_command() -> None:
    steps = next_steps(["backfill", "--apply"], progress=Progress(Span(5, 9)), held_back=3)

    assert steps == [
        "more is left; to resume: reconciler backfill --apply",
        "held back: check cluster and namespace; --force writes them anyway",
    ]


def test_the_next_step_after_a_change_is_undo() -> None:
    steps = next_steps(["backfill", "--apply"], written=Counter(failed=1))

    assert steps == ["to take it back: reconciler undo p-1"]


def test_restart_and_dry_run_are_left_out_of_the_next_command() -> None:
    command = ["backfill", "--apply", "--restart", "--max-changes", "3"]
    assert next_steps(command, progress=Progress(Span(5, 9))) == [
        "more is left; to resume: reconciler backfill --apply --max-changes 3"
    ]

    steps = next_steps(["backfill", "--dry-run"], dry_run=True, written=Counter(failed=1))
    assert steps == ["to write this: reconciler backfill --apply"]


def test_without_a_journal_there_is_no_undo_and_no_resuming() -> None:
    more = Progress(Span(5, 9))
    steps = next_steps(
        ["backfill", "--apply"], journal=False, progress=more, written=Counter(failed=1)
    )

    assert steps == ["more is left; to scan all running rows again: reconciler backfill --apply"]
