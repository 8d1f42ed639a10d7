from __future__ import annotations

import json
from datetime import timedelta

from reconciler.core.model import Leave, LeaveReason
from reconciler.core.report import PassOutcome, PassReport
from reconciler.core.verdict import StatusValues
from tests.factories import NOW, finish, row


def report() -> PassReport:
    return PassReport("p-1", "once", dry_run=False, started_at=NOW)


def test_counts_what_the_write_returned_not_what_was_asked() -> None:
    folded = report()
    asked = [finish(row(1)), finish(row(2), status="failed"), finish(row(3)), finish(row(4))]

    folded.add_written(asked, written={1, 2}, refused={4})

    assert folded.written == {"completed": 1, "failed": 1}
    assert folded.lost_races == 1
    assert folded.unknown == 1
    assert folded.changed == 2


def test_a_lost_race_is_a_normal_outcome() -> None:
    folded = report()

    folded.add_written([finish(row(1))], written=set())

    assert folded.lost_races == 1
    assert folded.outcome is PassOutcome.OK


def test_rows_left_by_policy_are_no_error() -> None:
    folded = report()

    folded.add_left([Leave(row(1), LeaveReason.EXPIRED), Leave(row(2), LeaveReason.OPEN)])

    assert folded.outcome is PassOutcome.OK


def test_unknown_rows_make_the_pass_unresolved() -> None:
    folded = report()

    folded.add_left([Leave(row(1), LeaveReason.UNKNOWN)])

    assert folded.outcome is PassOutcome.UNRESOLVED


def test_an_error_outweighs_everything() -> None:
    folded = report()
    folded.add_left([Leave(row(1), LeaveReason.UNKNOWN)])

    folded.error = "Temporal is away"

    assert folded.outcome is PassOutcome.ABORTED


def test_the_oldest_row_that_is_left_is_known() -> None:
    folded = report()
    assert folded.oldest_left is None

    folded.add_left([Leave(row(1, age=None), LeaveReason.OPEN)])
    assert folded.oldest_left is None

    folded.add_left([Leave(row(2, age=timedelta(hours=2)), LeaveReason.OPEN)])
    folded.add_left([Leave(row(3, age=timedelta(hours=1)), LeaveReason.OPEN)])
    assert folded.oldest_left == NOW - timedelta(hours=2)

    refused, lost = (finish(row(i, age=timedelta(hours=i))) for i in (4, 9))
    folded.add_written([refused, lost], written=set(), refused={4})
    assert folded.oldest_left == NOW - timedelta(hours=4), "a lost race is no longer running"

    folded.hold_back([finish(row(5, age=timedelta(hours=5)))])
    assert folded.oldest_left == NOW - timedelta(hours=5)


def test_json_has_exactly_the_keys_of_the_contract() -> None:
    folded = report()
    folded.scanned = 3
    folded.add_written([finish(row(1))], written={1})
    folded.add_left([Leave(row(2), LeaveReason.OPEN), Leave(row(3), LeaveReason.UNKNOWN)])
    folded.rpcs.update(describe=3, history=1, namespace=1)
    folded.duration_seconds = 1.23456

    assert json.loads(json.dumps(folded.as_json(StatusValues()))) == {
        "pass_id": "p-1",
        "mode": "once",
        "dry_run": False,
        "started_at": "2026-11-23T12:00:00+00:00",
        "duration_seconds": 1.235,
        "scanned": 3,
        "written": {"completed": 1, "failed": 0},
        "left": {"open": 1, "too_young": 0, "never_started": 0, "expired": 0},
        "unknown": 1,
        "lost_races": 0,
        "rpcs": {"describe": 3, "history": 1, "list": 0},
        "outcome": "unresolved",
    }
