"""Which rows may lose their outcome, why, and when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.model import Leave, LeaveReason
from reconciler.core.stuck.at_risk import as_row_at_risk, is_at_risk
from reconciler.core.stuck.condition import RowAtRisk
from tests.support.factories import NOW, RETENTION, finish, row

HOUR = timedelta(hours=1)


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
