"""Whose run has ended, if a row has no run id and others share its workflow id."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.core.model import Finish, Leave, LeaveReason, Missing, Rival, RunRow, Unknown
from reconciler.core.verdict import MissingPolicy, decide, needs_rivals
from tests.support.factories import NOW, RETENTION, closed, policy, row, start

OF = row(run_id=None)
CLOSED = closed()
STARTED = start().at
SKEW = start().skew
TICK = timedelta(microseconds=1)


def rival(run_id: str | None = None, **fields: object) -> RunRow:
    return replace(OF, id=2, run_id=run_id, **fields)  # type: ignore[arg-type]


def test_without_rivals_a_row_is_finished() -> None:
    verdict = decide(OF, CLOSED, policy(), NOW, [])

    assert isinstance(verdict, Finish)
    assert needs_rivals(verdict)


def test_rows_with_a_run_id_and_rows_that_are_left_need_no_rivals() -> None:
    assert not needs_rivals(decide(row(), CLOSED, policy(), NOW))
    assert not needs_rivals(Leave(OF, LeaveReason.OPEN))
    missing = decide(OF, Missing(), policy(missing=MissingPolicy.FAIL), NOW)
    assert isinstance(missing, Finish)
    assert not needs_rivals(missing)


@pytest.mark.parametrize("run_id", ["run-first", "run-last", "RUN-FIRST"])
@pytest.mark.parametrize("missing", MissingPolicy)
def test_a_run_belongs_to_the_row_that_has_its_id(run_id: str, missing: MissingPolicy) -> None:
    ended = Rival(rival(run_id), STARTED - timedelta(days=1))

    verdict = decide(OF, CLOSED, policy(missing=missing), NOW, [Rival(rival()), ended])

    assert isinstance(verdict, Leave)
    assert verdict.reason is LeaveReason.NEVER_STARTED


def test_the_retention_of_the_rows_own_namespace_applies() -> None:
    of_namespace = replace(CLOSED, retention=timedelta(minutes=30))

    verdict = decide(OF, of_namespace, policy(), NOW, [Rival(rival("run-last"))])

    assert isinstance(verdict, Leave)
    assert verdict.reason is LeaveReason.EXPIRED
    assert timedelta(minutes=30) < RETENTION


@pytest.mark.parametrize("run_id", [None, ""])
def test_another_row_without_a_run_id_leaves_both_in_doubt(run_id: str | None) -> None:
    rows = OF, rival(run_id)

    for one, other in (rows, rows[::-1]):
        assert decide(one, CLOSED, policy(), NOW, [Rival(other)]) == Leave(
            one,
            LeaveReason.UNKNOWN,
            "the row has no run id, and its workflow may be that of another row",
        )


@pytest.mark.parametrize(
    ("ended", "doubt"), [(None, True), (STARTED - SKEW, True), (STARTED - SKEW - TICK, False)]
)
def test_a_row_that_ended_before_the_run_started_is_no_rival(*, ended: object, doubt: bool) -> None:
    verdict = decide(OF, CLOSED, policy(), NOW, [Rival(rival(), ended)])  # type: ignore[arg-type]

    assert isinstance(verdict, Leave) is doubt


@pytest.mark.parametrize(
    ("mine", "others", "same"),
    [
        (None, None, True),
        (None, "", True),
        (None, "default", True),
        ("default", None, True),
        ("blue", "blue", True),
        ("blue", "green", False),
        ("blue", None, False),
        (None, "blue", False),
    ],
)
def test_the_same_workflow_id_in_another_namespace_is_another_workflow(
    *, mine: str | None, others: str | None, same: bool
) -> None:
    of, other = replace(OF, namespace=mine), rival(namespace=others)

    verdict = decide(of, CLOSED, policy(namespace="default"), NOW, [Rival(other)])

    assert isinstance(verdict, Leave) is same


def test_workflow_ids_that_only_a_collation_treats_as_equal_differ() -> None:
    other = rival(workflow_id=OF.workflow_id.upper())

    assert isinstance(decide(OF, CLOSED, policy(), NOW, [Rival(other)]), Finish)


def test_a_row_whose_rivals_cannot_be_read_is_left() -> None:
    verdict = decide(OF, CLOSED, policy(), NOW, Unknown("too slow"))

    assert verdict == Leave(OF, LeaveReason.UNKNOWN, "too slow")


def test_a_row_whose_chain_has_no_known_start_is_left() -> None:
    verdict = decide(OF, replace(CLOSED, start=None), policy(), NOW)

    assert isinstance(verdict, Leave)
    assert verdict.reason is LeaveReason.UNKNOWN
