"""The rules of the product, one readable line each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model import (
    CloseStatus,
    Finish,
    Leave,
    LeaveReason,
    Missing,
    Observation,
    Open,
    RunRow,
    Unasked,
    Unknown,
)
from reconciler.core.own_use import CLOCK_SKEW
from reconciler.core.policy import MissingPolicy, StatusValues
from reconciler.core.verdict import TOUCHED, decide, old_enough_at
from tests.support.factories import CLOSE_TIME, NOW, RETENTION, closed, policy, row, start

GRACE = timedelta(seconds=60)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
FAIL = {"missing": MissingPolicy.FAIL}
OWN_VALUES = {
    "statuses": StatusValues(("run",), "done", "broken", "stopped", "killed", "late"),
}
NEVER = "outcome unknown: no such workflow in Temporal"
DELETED = "outcome unknown: deleted from Temporal"
EXPIRED = "outcome unknown: past Temporal's retention"


@pytest.mark.parametrize(
    ("observation", "rules", "status", "error"),
    [
        pytest.param(closed(), {}, "completed", None, id="completed: no error"),
        pytest.param(closed(CloseStatus.FAILED), {}, "failed", "boom", id="failed"),
        pytest.param(closed(CloseStatus.TIMED_OUT), {}, "failed", "boom", id="timed out: failed"),
        pytest.param(closed(CloseStatus.TERMINATED), {}, "failed", "boom", id="terminated: failed"),
        pytest.param(closed(CloseStatus.CANCELED), {}, "failed", "boom", id="canceled: failed"),
        pytest.param(closed(), OWN_VALUES, "done", None, id="own value for completed"),
        pytest.param(closed(CloseStatus.FAILED), OWN_VALUES, "broken", "boom", id="own: failed"),
        pytest.param(closed(CloseStatus.CANCELED), OWN_VALUES, "stopped", "boom", id="own: cancel"),
        pytest.param(closed(CloseStatus.TERMINATED), OWN_VALUES, "killed", "boom", id="own: term"),
        pytest.param(closed(CloseStatus.TIMED_OUT), OWN_VALUES, "late", "boom", id="own: timeout"),
        pytest.param(
            closed(CloseStatus.FAILED, "abcdef"),
            {"error_message_limit": 4},
            "failed",
            "abc…",
            id="the text is cut at the limit",
        ),
        pytest.param(
            closed(CloseStatus.FAILED, "a\nb\x00c"),
            {},
            "failed",
            "a b c",
            id="the text becomes one line without NUL",
        ),
    ],
)
def test_a_closed_workflow_finishes_its_row(
    observation: Observation, rules: dict[str, Any], status: str, error: str | None
) -> None:
    verdict = decide(row(), observation, policy(**rules), NOW)

    assert isinstance(verdict, Finish)
    assert verdict.outcome.status == status
    assert verdict.outcome.error_message == error
    assert verdict.outcome.completed_at == CLOSE_TIME
    assert verdict.outcome.final_run_id == "run-last"
    assert verdict.missing is None


@pytest.mark.parametrize("run_id", ["run", None])
def test_a_completed_workflow_leaves_its_row_if_there_is_no_value_for_it(
    run_id: str | None,
) -> None:
    rules = policy(statuses=StatusValues(completed=None))
    of = row(run_id=run_id)

    assert decide(of, closed(), rules, NOW) == Leave(of, LeaveReason.COMPLETED)
    assert isinstance(decide(of, closed(CloseStatus.FAILED), rules, NOW), Finish)


@pytest.mark.parametrize("observation", [closed(CloseStatus.FAILED), closed(), Missing()])
@pytest.mark.parametrize("run_id", ["run", None])
def test_a_row_changed_less_than_grace_ago_may_be_about_to_start_again(
    observation: Observation, run_id: str | None
) -> None:
    rules = policy(missing=MissingPolicy.FAIL)
    for changed in (NOW - GRACE + TICK, NOW, NOW + GRACE):
        of = row(run_id=run_id, updated_at=changed)
        assert decide(of, observation, rules, NOW) == Leave(of, LeaveReason.TOO_YOUNG, TOUCHED)
    of = row(run_id=run_id, updated_at=NOW - GRACE)
    assert isinstance(decide(of, observation, rules, NOW), Finish)
    just_now = row(updated_at=NOW)
    assert decide(just_now, Open(), rules, NOW) == Leave(just_now, LeaveReason.OPEN, "RUNNING")


@pytest.mark.parametrize(
    ("created", "now", "id_in_use", "reason"),
    [
        pytest.param(CLOCK_SKEW, GRACE, True, None, id="created before, by another clock"),
        pytest.param(CLOCK_SKEW + TICK, GRACE, False, LeaveReason.TOO_YOUNG, id="young"),
        pytest.param(CLOCK_SKEW + TICK, 2 * GRACE, False, None, id="created late"),
        pytest.param(CLOCK_SKEW + TICK, 2 * GRACE, True, LeaveReason.UNKNOWN, id="id used again"),
        pytest.param(9 * HOUR, GRACE, False, None, id="created in another time zone"),
        pytest.param(9 * HOUR, GRACE, True, None, id="the same, id used again"),
    ],
)
def test_a_run_that_closed_before_its_row_was_created(
    created: timedelta, now: timedelta, id_in_use: bool, reason: LeaveReason | None
) -> None:
    of = replace(row(), created_at=CLOSE_TIME + created)
    ended = replace(closed(CloseStatus.FAILED), id_in_use=id_in_use)

    verdict = decide(of, ended, policy(), CLOSE_TIME + now)

    assert (verdict.reason if isinstance(verdict, Leave) else None) is reason


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        pytest.param(Open(), LeaveReason.OPEN, id="running"),
        pytest.param(Open("PAUSED"), LeaveReason.OPEN, id="paused"),
        pytest.param(Unknown("busy"), LeaveReason.UNKNOWN, id="no answer"),
        pytest.param(Unasked(), LeaveReason.NO_WORKFLOW_ID, id="no workflow id"),
    ],
)
@pytest.mark.parametrize("rules", [{}, FAIL], ids=["missing=leave", "missing=fail"])
def test_an_open_or_unclear_workflow_leaves_its_row(
    observation: Observation, reason: LeaveReason, rules: dict[str, Any]
) -> None:
    verdict = decide(row(age=RETENTION * 2), observation, policy(**rules), NOW)

    assert isinstance(verdict, Leave)
    assert verdict.reason is reason


@pytest.mark.parametrize(
    ("age", "reason", "error_if_fail"),
    [
        pytest.param(-GRACE, LeaveReason.TOO_YOUNG, None, id="created in our future: too young"),
        pytest.param(GRACE - TICK, LeaveReason.TOO_YOUNG, None, id="1 µs short of grace"),
        pytest.param(GRACE, LeaveReason.NEVER_STARTED, NEVER, id="exactly grace"),
        pytest.param(GRACE + TICK, LeaveReason.NEVER_STARTED, NEVER, id="1 µs past grace"),
        pytest.param(RETENTION - TICK, LeaveReason.NEVER_STARTED, NEVER, id="1 µs in retention"),
        pytest.param(RETENTION, LeaveReason.EXPIRED, EXPIRED, id="exactly retention"),
        pytest.param(RETENTION + TICK, LeaveReason.EXPIRED, EXPIRED, id="1 µs past retention"),
    ],
)
def test_a_missing_workflow_is_judged_by_the_age_of_its_row(
    age: timedelta, reason: LeaveReason, error_if_fail: str | None
) -> None:
    of = row(age=age, run_id=None)

    left = decide(of, Missing(), policy(), NOW)
    failed = decide(of, Missing(), policy(**FAIL), NOW)

    assert left == Leave(of, reason, "no such workflow")
    if error_if_fail is None:
        assert failed == left
        return
    assert isinstance(failed, Finish)
    assert failed.missing is reason
    assert failed.outcome.status == "failed"
    assert failed.outcome.error_message == error_if_fail
    assert failed.outcome.completed_at is None, "Temporal gave no close time"
    assert failed.outcome.temporal_status == "NOT_FOUND"


@pytest.mark.parametrize(
    ("age", "reason", "error_if_fail"),
    [
        pytest.param(RETENTION - TICK, LeaveReason.DELETED, DELETED, id="1 µs in retention"),
        pytest.param(RETENTION, LeaveReason.EXPIRED, EXPIRED, id="exactly retention"),
    ],
)
def test_a_missing_workflow_with_a_run_id_was_deleted_unless_it_may_have_expired(
    age: timedelta, reason: LeaveReason, error_if_fail: str
) -> None:
    failed = decide(row(age=age, run_id="run-1"), Missing(), policy(**FAIL), NOW)

    assert isinstance(failed, Finish)
    assert failed.missing is reason
    assert failed.outcome.error_message == error_if_fail


@pytest.mark.parametrize(
    ("retention", "reason"),
    [
        pytest.param(RETENTION, LeaveReason.NEVER_STARTED, id="longer"),
        pytest.param(RETENTION / 3, LeaveReason.EXPIRED, id="shorter"),
        pytest.param(timedelta(), LeaveReason.EXPIRED, id="none at all"),
        pytest.param(None, LeaveReason.NEVER_STARTED, id="the policy's"),
    ],
)
def test_a_missing_workflow_is_judged_by_the_retention_of_its_own_namespace(
    retention: timedelta | None, reason: LeaveReason
) -> None:
    verdict = decide(
        row(age=RETENTION / 2, run_id=None), Missing(retention=retention), policy(), NOW
    )

    assert isinstance(verdict, Leave)
    assert verdict.reason is reason


def test_a_row_that_may_be_younger_than_it_looks_is_not_failed() -> None:
    shift = timedelta(hours=12)
    rules = policy(**FAIL, shift=shift)
    young, old = (row(age=GRACE + shift - less) for less in (TICK, timedelta(0)))

    left = decide(young, Missing(), rules, NOW)

    assert isinstance(left, Leave)
    assert left.reason is LeaveReason.TOO_YOUNG
    assert "RECONCILER_TIME_ZONE is not set" in str(left.detail)
    assert isinstance(decide(old, Missing(), rules, NOW), Finish)
    reported = decide(young, Missing(), policy(shift=shift), NOW)
    assert isinstance(reported, Leave)
    assert reported.reason is LeaveReason.DELETED, "where nothing is failed, nothing is delayed"


@pytest.mark.parametrize("rules", [{}, FAIL], ids=["missing=leave", "missing=fail"])
def test_a_missing_run_of_an_id_in_use_is_never_failed(rules: dict[str, Any]) -> None:
    of = row(age=RETENTION * 2)

    verdict = decide(of, Missing("reused", id_in_use=True), policy(**rules), NOW)

    assert verdict == Leave(of, LeaveReason.EXPIRED, "reused")


@pytest.mark.parametrize("run_id", [None, ""])
@pytest.mark.parametrize(
    ("age", "left"),
    [
        pytest.param(GRACE - TICK, True, id="1 µs short of grace"),
        pytest.param(GRACE, False, id="exactly grace"),
    ],
)
def test_a_row_that_may_still_get_its_run_id_is_too_young(
    run_id: str | None, age: timedelta, left: bool
) -> None:
    verdict = decide(row(age=age, run_id=run_id), closed(), policy(), NOW)

    assert isinstance(verdict, Leave) is left
    assert isinstance(decide(row(age=age), closed(), policy(), NOW), Finish)


@pytest.mark.parametrize("run_id", [None, ""])
@pytest.mark.parametrize(("age", "left"), [(GRACE - TICK, True), (GRACE, False)])
def test_a_row_whose_run_has_just_started_is_too_young(
    *, run_id: str | None, age: timedelta, left: bool
) -> None:
    """The row that the run belongs to, or its run id, may be about to be stored."""
    started = replace(closed(), start=start(NOW - age))

    verdict = decide(row(run_id=run_id), started, policy(), NOW)

    assert isinstance(verdict, Leave) is left
    assert isinstance(decide(row(), started, policy(), NOW), Finish)


@given(
    run_id=st.sampled_from([None, "run-1"]),
    touched=st.none() | st.integers(-30, 100),
    age=st.none() | st.integers(-30, 100),
    status=st.sampled_from(CloseStatus),
)
def test_a_row_is_left_as_too_young_until_it_is_old_enough(
    run_id: str | None, touched: int | None, age: int | None, status: CloseStatus
) -> None:
    """Else the feed would not ask about a row that could be finished."""
    times = [None if each is None else timedelta(seconds=each) for each in (age, touched)]
    changed = None if times[1] is None else NOW - times[1]
    young = row(1, age=times[0], run_id=run_id, updated_at=changed)
    rules = policy(grace=timedelta(seconds=60))

    at = old_enough_at(young, rules)

    if at is not None and at > NOW:
        verdict = decide(young, closed(status), rules, NOW)
        assert isinstance(verdict, Leave)
        assert verdict.reason is LeaveReason.TOO_YOUNG


def test_a_retention_shorter_than_grace_does_not_shorten_grace() -> None:
    rules = policy(retention=timedelta(seconds=1), **FAIL)

    assert decide(row(age=GRACE - TICK), Missing(), rules, NOW) == Leave(
        row(age=GRACE - TICK), LeaveReason.TOO_YOUNG, "no such workflow"
    )


@pytest.mark.parametrize("rules", [{}, FAIL], ids=["missing=leave", "missing=fail"])
def test_a_missing_workflow_of_a_row_without_creation_time_is_unknown(
    rules: dict[str, Any],
) -> None:
    of: RunRow = row(age=None)

    verdict = decide(of, Missing(), policy(**rules), NOW)

    assert isinstance(verdict, Leave)
    assert verdict.reason is LeaveReason.UNKNOWN
