from __future__ import annotations

import json
from datetime import timedelta

from reconciler.core.model import Leave, LeaveReason
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassOutcome, PassReport
from reconciler.core.verdict import StatusValues
from reconciler.core.window import Spread
from tests.support.factories import NOW, finish, row


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

    missing = finish(row(5, age=timedelta(hours=5)), missing=LeaveReason.EXPIRED)
    folded.hold_back([Span.of(None, 5, [missing])])
    assert folded.oldest_left == NOW - timedelta(hours=5)


def test_json_has_exactly_the_keys_of_the_contract() -> None:
    folded = report()
    leaves = [
        Leave(row(2), LeaveReason.OPEN),
        Leave(row(3), LeaveReason.UNKNOWN),
        Leave(row(4, age=timedelta(days=2)), LeaveReason.EXPIRED),
    ]
    folded.add_scanned([finish(row(1)), *leaves])
    folded.add_written([finish(row(1))], written={1})
    folded.add_left(leaves)
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
        "left": {"open": 1, "too_young": 0, "never_started": 0, "deleted": 0, "expired": 1},
        "screened": 0,
        "unknown": 1,
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
        "rpcs": {"describe": 3, "history": 1, "list": 0},
        "outcome": "unresolved",
    }


class TestMissingRows:
    def test_are_spread_from_the_oldest_to_the_newest(self) -> None:
        spread = Spread()
        for id_, hours in enumerate((2, 1, 5, 3), start=1):
            spread.add(row(id_, age=timedelta(hours=hours)))
        spread.add(row(5, age=None))

        assert spread == Spread(5, NOW - timedelta(hours=5), NOW - timedelta(hours=1))

    def test_that_do_not_say_when_they_were_created_are_only_counted(self) -> None:
        spread = Spread()
        spread.add(row(1, age=None))

        assert spread == Spread(1, None, None)

    def test_are_those_that_are_left_and_those_that_are_failed_by_their_reason(self) -> None:
        folded = report()
        failing = finish(row(1, age=timedelta(hours=3)), missing=LeaveReason.DELETED)
        leaves = [Leave(row(2), LeaveReason.DELETED), Leave(row(3), LeaveReason.TOO_YOUNG)]

        folded.add_scanned([failing, *leaves, finish(row(4))])

        assert folded.scanned == 4
        hour = timedelta(hours=1)
        assert folded.missing[LeaveReason.DELETED] == Spread(2, NOW - 3 * hour, NOW - hour)
        assert folded.missing[LeaveReason.EXPIRED] == Spread()
        assert folded.missing[LeaveReason.NEVER_STARTED] == Spread()


class TestMoreIsLeft:
    def test_while_the_pass_has_not_come_to_its_end(self) -> None:
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
        "unknown",
    }
    assert Leave(row(), LeaveReason.OPEN).detail is None
