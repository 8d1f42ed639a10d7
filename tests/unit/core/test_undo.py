"""Which changes of a pass are restored, and the report of an undo."""

from __future__ import annotations

import pytest

from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import (
    Change,
    RowState,
    SkipReason,
    UndoReport,
    until_first_repeat,
    why_skipped,
)
from tests.support.factories import NOW


@pytest.mark.parametrize(
    ("exists", "same_run", "has_old", "has_new", "expected"),
    [
        pytest.param(True, True, False, True, None, id="as the pass left it"),
        pytest.param(True, True, True, False, SkipReason.AS_BEFORE, id="as before"),
        pytest.param(True, True, False, False, SkipReason.CHANGED, id="written since"),
        pytest.param(True, True, True, True, None, id="a change that changed nothing"),
        pytest.param(True, False, False, True, SkipReason.REUSED, id="another run, same values"),
        pytest.param(True, False, True, False, SkipReason.REUSED, id="another run, running"),
        pytest.param(True, False, False, False, SkipReason.REUSED, id="another run, other values"),
        pytest.param(False, False, False, False, SkipReason.GONE, id="deleted"),
    ],
)
def test_why_a_row_is_not_restored(
    *, exists: bool, same_run: bool, has_old: bool, has_new: bool, expected: SkipReason | None
) -> None:
    assert why_skipped(RowState(exists, same_run, has_old, has_new)) == expected


def change(number: int, row_id: str) -> Change:
    return Change(number, row_id, "wf", "run", "running")


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ("", ""),
        ("abc", "abc"),
        ("aa", "a"),
        ("abcbd", "abc"),
    ],
)
def test_a_page_ends_before_the_second_change_of_a_row(rows: str, taken: str) -> None:
    changes = [change(number, row_id) for number, row_id in enumerate(rows)]

    assert "".join(c.row_id for c in until_first_repeat(changes)) == taken


def report(**left: int) -> UndoReport:
    report = UndoReport("p-2", PassRequest("undo"), started_at=NOW, undone="p-1")
    for reason, count in left.items():
        report.left[SkipReason(reason)] += count
    return report


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        ({}, PassOutcome.OK),
        ({"as_before": 3}, PassOutcome.OK),
        ({"changed": 0}, PassOutcome.OK),
        *(({reason: 1}, PassOutcome.UNRESOLVED) for reason in SkipReason if reason != "as_before"),
        ({"as_before": 3, "locked": 1}, PassOutcome.UNRESOLVED),
    ],
)
def test_it_is_ok_if_every_row_is_as_before(left: dict[str, int], outcome: PassOutcome) -> None:
    assert report(**left).outcome is outcome


def test_an_undo_that_could_not_continue_is_aborted() -> None:
    aborted = report(changed=1)
    aborted.error = "no database"

    assert aborted.outcome is PassOutcome.ABORTED


def test_every_key_of_the_json_is_always_there() -> None:
    empty = report().as_json(StatusValues(terminated="stopped"))

    assert empty == {
        "pass_id": "p-2",
        "mode": "undo",
        "dry_run": False,
        "undone": "p-1",
        "unended": False,
        "started_at": "2026-11-23T12:00:00+00:00",
        "duration_seconds": 0.0,
        "scanned": 0,
        "written": {"running": 0, "completed": 0, "failed": 0, "stopped": 0},
        "left": {
            "as_before": 0,
            "changed": 0,
            "reused": 0,
            "gone": 0,
            "locked": 0,
            "refused": 0,
            "pruned": 0,
        },
        "outcome": "ok",
    }


def test_the_json_also_counts_statuses_that_are_no_longer_configured() -> None:
    folded = report(gone=2)
    folded.scanned = 5
    folded.written.update({"running": 2, "on its way": 1})

    printed = folded.as_json(StatusValues())

    assert printed["written"] == {"running": 2, "completed": 0, "failed": 0, "on its way": 1}
    assert (printed["scanned"], printed["left"]["gone"], printed["outcome"]) == (5, 2, "unresolved")


def test_changes_that_the_journal_no_longer_has_are_counted() -> None:
    folded = report()
    folded.expected, folded.scanned = 30, 10

    assert folded.count_pruned() == 20
    assert folded.left == {SkipReason.PRUNED: 20}
    assert folded.outcome is PassOutcome.UNRESOLVED


def test_if_the_journal_has_all_changes_none_is_pruned() -> None:
    folded = report()
    folded.expected, folded.scanned = 0, 10

    assert folded.count_pruned() == 0
    assert folded.outcome is PassOutcome.OK


def test_undoing_a_pass_that_may_write_more_is_unresolved() -> None:
    folded = report()
    folded.unended = True

    assert folded.outcome is PassOutcome.UNRESOLVED
