"""What is recorded of a row: since when it is stuck, and whether and when its outcome is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from reconciler.core.model import Leave, LeaveReason
from reconciler.core.stuck.condition import Condition, Diagnosis, Reason, RowAtRisk, StuckRow
from reconciler.core.stuck.record import as_row_at_risk, as_stuck_row, is_at_risk
from tests.support.factories import NOW, RETENTION, finish, row
from tests.support.open_workflows import MINUTE, SECOND
from tests.support.stuck import HOUR, stuck_row

KNOWN = stuck_row(run_id="run-1", reason=Reason.PAUSED, since=NOW - 5 * MINUTE)


def diagnosis(since: datetime | None = None, reason: Reason = Reason.PAUSED) -> Diagnosis:
    return Diagnosis(Condition(reason, "the text", since, "the cause"), "run-1", "Order")


def test_a_stuck_row_says_what_was_found_and_when() -> None:
    assert as_stuck_row(row(1), diagnosis(NOW - SECOND), None, NOW) == StuckRow(
        row_id=1,
        workflow_id="wf-1",
        run_id="run-1",
        workflow_type="Order",
        reason=Reason.PAUSED,
        text="the text",
        cause="the cause",
        since=NOW - SECOND,
        seen=NOW,
    )


@pytest.mark.parametrize(
    ("found", "known", "since"),
    [
        pytest.param(diagnosis(), None, NOW, id="first seen"),
        pytest.param(diagnosis(NOW + MINUTE), None, NOW, id="Temporal's clock is ahead"),
        pytest.param(diagnosis(), KNOWN, KNOWN.since, id="seen before"),
        pytest.param(diagnosis(NOW - MINUTE), KNOWN, KNOWN.since, id="the earlier one stays"),
        pytest.param(diagnosis(NOW - 9 * MINUTE), KNOWN, NOW - 9 * MINUTE, id="or is replaced"),
        pytest.param(diagnosis(reason=Reason.OVERDUE), KNOWN, NOW, id="another reason"),
        pytest.param(diagnosis(), replace(KNOWN, run_id="run-0"), NOW, id="another run"),
    ],
)
def test_a_row_is_stuck_since_the_earliest_time_known_of_its_run_and_reason(
    found: Diagnosis, known: StuckRow | None, since: datetime
) -> None:
    assert as_stuck_row(row(1), found, known, NOW).since == since


def left(reason: LeaveReason = LeaveReason.DELETED, detail: str | None = None) -> Leave:
    return Leave(row(1), reason, detail)


@pytest.mark.parametrize("reason", LeaveReason)
def test_those_that_temporal_does_not_know_or_that_cannot_be_judged(reason: LeaveReason) -> None:
    expected = reason in {"never_started", "deleted", "expired", "unknown"}

    assert is_at_risk(left(reason)) is expected


def test_one_that_is_to_be_failed_and_none_that_is_finished() -> None:
    assert is_at_risk(finish(row(1), missing=LeaveReason.EXPIRED))
    assert not is_at_risk(finish(row(1)))


def test_its_outcome_is_lost_a_retention_time_after_the_row_was_made() -> None:
    found = as_row_at_risk(left(detail="no such workflow"), None, RETENTION, NOW)

    assert found == RowAtRisk(
        row_id=1,
        workflow_id="wf-1",
        reason="deleted",
        text="no such workflow",
        since=NOW,
        seen=NOW,
        lost_at=NOW - HOUR + RETENTION,
    )
    verdict = finish(row(1, age=None), missing=LeaveReason.DELETED, error_message="gone")
    undated = as_row_at_risk(verdict, None, RETENTION, NOW)
    assert (undated.lost_at, undated.text) == (None, "gone")
    assert as_row_at_risk(left(), None, None, NOW).lost_at is None


def test_since_is_kept_for_the_same_reason() -> None:
    before = as_row_at_risk(left(), None, RETENTION, NOW - HOUR)

    assert as_row_at_risk(left(), before, RETENTION, NOW).since == NOW - HOUR
    assert as_row_at_risk(left(LeaveReason.UNKNOWN), before, RETENTION, NOW).since == NOW
    assert as_row_at_risk(left(), before, RETENTION, NOW - 2 * HOUR).since == NOW - 2 * HOUR
