from __future__ import annotations

import json
from datetime import timedelta

from reconciler.core.model import Leave, LeaveReason
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from tests.support.factories import NOW, finish, row


def report() -> PassReport:
    return PassReport("p-1", PassRequest("once"), started_at=NOW)


def left(*reasons: LeaveReason) -> PassReport:
    folded = report()
    folded.done.add_left([Leave(row(id_), reason) for id_, reason in enumerate(reasons)])
    return folded


def test_a_lost_race_is_a_normal_outcome() -> None:
    folded = report()

    folded.done.add_written([finish(row(1))], written=set())

    assert folded.outcome is PassOutcome.OK


def test_rows_left_by_policy_are_no_error() -> None:
    assert left(LeaveReason.EXPIRED, LeaveReason.OPEN).outcome is PassOutcome.OK


def test_unknown_rows_make_the_pass_unresolved() -> None:
    assert left(LeaveReason.UNKNOWN).outcome is PassOutcome.UNRESOLVED


def test_an_error_outweighs_everything() -> None:
    folded = left(LeaveReason.UNKNOWN)

    folded.error = "Temporal is unreachable"

    assert folded.outcome is PassOutcome.ABORTED


def test_rows_that_are_held_back_count_as_left_with_their_age() -> None:
    missing = finish(row(5, age=timedelta(hours=5)), missing=LeaveReason.EXPIRED)
    span = Span(None, 5)
    span.first.add_set_aside([missing])
    span.add_failing([missing])
    folded = report()
    folded.progress = Progress(None, [span])
    assert folded.tally.oldest_left is None, "it will be written"

    folded.hold_back()

    assert (folded.held_back, folded.tally.left) == (1, {LeaveReason.EXPIRED: 1})
    assert folded.tally.oldest_left == NOW - timedelta(hours=5)
    assert not folded.more_left


def test_json_has_exactly_the_keys_of_the_contract() -> None:
    folded = report()
    leaves = [
        Leave(row(2), LeaveReason.OPEN),
        Leave(row(3), LeaveReason.UNKNOWN),
        Leave(row(4, age=timedelta(days=2)), LeaveReason.EXPIRED),
    ]
    folded.done.scanned = 4
    folded.done.add_written([finish(row(1))], written={1})
    folded.done.add_left(leaves)
    folded.rpcs.update(describe=3, history=1, namespace=1)
    folded.duration_seconds = 1.23456

    assert json.loads(json.dumps(folded.as_json(StatusValues()))) == {
        "pass_id": "p-1",
        "mode": "once",
        "dry_run": False,
        "started_at": "2026-11-23T12:00:00+00:00",
        "duration_seconds": 1.235,
        "scanned": 4,
        "written": {"completed": 1, "failed": 0},
        "left": {
            "open": 1,
            "too_young": 0,
            "never_started": 0,
            "deleted": 0,
            "expired": 1,
            "no_workflow_id": 0,
            "completed": 0,
        },
        "screened": 0,
        "unknown": 1,
        "refused": 0,
        "lost_races": 0,
        "held_back": 0,
        "missing": {
            "never_started": {"rows": 0, "oldest": None, "newest": None},
            "deleted": {"rows": 0, "oldest": None, "newest": None},
            "expired": {
                "rows": 1,
                "oldest": "2026-11-21T12:00:00+00:00",
                "newest": "2026-11-21T12:00:00+00:00",
            },
        },
        "more_left": False,
        "rpcs": {"describe": 3, "history": 1, "list": 0, "queue": 0},
        "warnings": [],
        "outcome": "unresolved",
    }


class TestMoreIsLeft:
    def test_while_the_pass_has_not_completed(self) -> None:
        folded = report()
        assert not folded.more_left

        folded.progress = Progress(Span(None, 1))
        assert folded.more_left
        assert folded.outcome is PassOutcome.UNRESOLVED

        folded.progress = Progress()
        assert not folded.more_left
        assert folded.outcome is PassOutcome.OK

    def test_after_an_error(self) -> None:
        folded = report()

        folded.stop()

        assert folded.stopped
        assert folded.more_left


def test_leave_reasons_are_the_keys_of_the_json() -> None:
    assert {reason.value for reason in LeaveReason} == {
        "open",
        "too_young",
        "never_started",
        "deleted",
        "expired",
        "no_workflow_id",
        "completed",
        "unknown",
    }
    assert Leave(row(), LeaveReason.OPEN).detail is None
