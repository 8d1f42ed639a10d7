"""Whose use of a workflow id has closed, if the row has no run id."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reconciler.core.model import (
    Closed,
    Finish,
    Leave,
    LeaveReason,
    Missing,
    Rival,
    RunRow,
    Unknown,
    Use,
)
from reconciler.core.own_use import CLOCK_SKEW, FURTHEST_ZONE, leaves_no_time
from reconciler.core.policy import MissingPolicy
from reconciler.core.verdict import Claims, decide, needs_claims
from tests.support.factories import CLOSE_TIME, NOW, RETENTION, chain, closed, policy, row, start

OF = row(run_id=None)
CLOSED = closed()
STARTED = chain().started_at
TICK = timedelta(microseconds=1)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def rival(run_id: str | None = None, ended: datetime | None = None, **fields: object) -> Rival:
    return Rival(replace(OF, id=2, run_id=run_id, **fields), ended)  # type: ignore[arg-type]


def left(of: RunRow, *rivals: Rival, uses: tuple[Use, ...] = ()) -> LeaveReason | None:
    """Why the row is left; None if it is finished."""
    verdict = decide(of, CLOSED, policy(), NOW, Claims(rivals, uses))
    return verdict.reason if isinstance(verdict, Leave) else None


def made(offset: timedelta) -> RunRow:
    """A row without a run id that was created that long after the use started."""
    return replace(OF, created_at=STARTED + offset)


# --- The use ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-20 * HOUR, -10 * MINUTE, 5 * SECOND, 50 * SECOND, 50 * MINUTE])
def test_a_row_made_long_before_the_start_or_long_after_it_is_finished(offset: timedelta) -> None:
    assert left(made(offset)) is None


@pytest.mark.parametrize("tick", [timedelta(), TICK])
def test_a_row_made_after_the_use_had_closed_is_not_of_it(tick: timedelta) -> None:
    ended_before = replace(CLOSED, close_time=NOW - HOUR, start=start(NOW - 2 * HOUR))
    of = replace(OF, created_at=ended_before.close_time + CLOCK_SKEW + tick)

    verdict = decide(of, ended_before, policy(missing=MissingPolicy.FAIL), NOW)

    if tick:
        why = "run run-last ended before the row was created"
        assert verdict == Leave(of, LeaveReason.NEVER_STARTED, why)
    else:
        assert isinstance(verdict, Finish)


@pytest.mark.parametrize("missing", MissingPolicy)
@pytest.mark.parametrize("namespace", [None, timedelta(minutes=30)])
def test_a_row_older_than_the_retention_is_left(
    missing: MissingPolicy, namespace: timedelta | None
) -> None:
    of = replace(OF, created_at=NOW - (namespace or RETENTION))

    verdict = decide(of, replace(CLOSED, retention=namespace), policy(missing=missing), NOW)

    assert isinstance(verdict, Leave)
    assert verdict.reason is LeaveReason.EXPIRED


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        pytest.param(Use("b", NOW, None), LeaveReason.UNKNOWN, id="open"),
        pytest.param(
            Use("b", STARTED - HOUR, STARTED - CLOCK_SKEW), LeaveReason.UNKNOWN, id="within skew"
        ),
        pytest.param(
            Use("b", STARTED - HOUR, STARTED - CLOCK_SKEW - TICK), None, id="closed before"
        ),
    ],
)
def test_another_use_since_the_row_was_created_leaves_doubt(
    use: Use, reason: LeaveReason | None
) -> None:
    assert left(OF, uses=(use,)) is reason


def test_the_verdict_names_the_other_uses() -> None:
    uses = [Use(run, STARTED, NOW) for run in "bcde"]

    verdict = decide(OF, CLOSED, policy(), NOW, Claims(uses=uses))

    assert isinstance(verdict, Leave)
    named = "; ".join(f"{run}, started {STARTED.isoformat()}" for run in "bcd")
    assert (verdict.detail or "").endswith(f"since the row was created: run {named} and 1 more")


def test_a_row_whose_other_uses_cannot_be_read_is_left() -> None:
    verdict = decide(OF, CLOSED, policy(), NOW, Claims(uses=Unknown("not yet")))

    assert verdict == Leave(OF, LeaveReason.UNKNOWN, "not yet")


@pytest.mark.parametrize(
    ("offset", "last", "no_time"),
    [
        (CLOCK_SKEW, "run-first", True),
        (CLOCK_SKEW - TICK, "run-first", False),
        (HOUR, "run-last", False),
    ],
)
def test_one_run_that_was_open_when_the_row_was_made_leaves_no_time_for_another(
    *, offset: timedelta, last: str, no_time: bool
) -> None:
    assert leaves_no_time(made(offset), chain(last_run_id=last)) is no_time


def test_of_a_chain_whose_first_run_is_gone_it_is_unknown_when_it_began() -> None:
    verdict = decide(OF, replace(CLOSED, start=start(None)), policy(), NOW)

    assert isinstance(verdict, Leave)
    assert verdict.reason is LeaveReason.UNKNOWN


# --- Other rows ------------------------------------------------------------------------------


def test_rows_with_a_run_id_and_rows_that_are_left_need_no_claims() -> None:
    assert needs_claims(decide(OF, CLOSED, policy(), NOW))
    assert not needs_claims(decide(row(), CLOSED, policy(), NOW))
    assert not needs_claims(Leave(OF, LeaveReason.OPEN))
    missing = decide(OF, Missing(), policy(missing=MissingPolicy.FAIL), NOW)
    assert isinstance(missing, Finish)
    assert not needs_claims(missing)


@pytest.mark.parametrize("run_id", ["run-first", "run-last", "RUN-FIRST"])
@pytest.mark.parametrize("missing", MissingPolicy)
def test_a_use_belongs_to_the_row_that_stores_its_run_id(
    run_id: str, missing: MissingPolicy
) -> None:
    stores = rival(run_id, STARTED - timedelta(days=1))
    claims = Claims([rival(), stores])

    verdict = decide(OF, CLOSED, policy(missing=missing), NOW, claims)

    why = "run run-last is that of row 2, which stores its run id"
    assert verdict == Leave(OF, LeaveReason.NEVER_STARTED, why)


def test_a_row_that_stores_another_run_id_has_no_claim() -> None:
    assert left(OF, rival("run-other", NOW)) is None


OTHERS, DOUBT = LeaveReason.NEVER_STARTED, LeaveReason.UNKNOWN


@pytest.mark.parametrize(
    ("mine", "other", "reason"),
    [
        pytest.param(-HOUR, -MINUTE, OTHERS, id="an older row before the start"),
        pytest.param(-MINUTE, -HOUR, None, id="the youngest before the start"),
        pytest.param(-MINUTE, -MINUTE, DOUBT, id="at the same time"),
        pytest.param(SECOND, -HOUR, None, id="within the skew counts as before"),
        pytest.param(-HOUR, SECOND, OTHERS, id="within the skew is nearer"),
        pytest.param(-SECOND, SECOND, DOUBT, id="both within the skew"),
        pytest.param(-2 * SECOND, 2 * SECOND, DOUBT, id="at its edges"),
        pytest.param(-2 * SECOND - TICK, 2 * SECOND, OTHERS, id="beyond its edge"),
        pytest.param(MINUTE, -HOUR, OTHERS, id="one before the start comes first"),
        pytest.param(-HOUR, MINUTE, None, id="before the start"),
        pytest.param(MINUTE, 2 * MINUTE, None, id="the oldest after the start"),
        pytest.param(2 * MINUTE, MINUTE, OTHERS, id="a younger one after the start"),
        pytest.param(MINUTE, MINUTE, DOUBT, id="at the same time after the start"),
    ],
)
def test_of_rows_without_a_run_id_the_nearest_to_the_start_is_the_uses_own(
    mine: timedelta, other: timedelta, reason: LeaveReason | None
) -> None:
    of, another = made(mine), rival(created_at=STARTED + other)

    assert left(of, another) is reason
    if reason is DOUBT:
        assert left(another.row, Rival(of)) is DOUBT
    else:
        assert (left(another.row, Rival(of)) is None) is (reason is OTHERS)


def test_a_row_made_after_the_use_had_closed_has_no_claim() -> None:
    assert left(OF, rival(created_at=CLOSE_TIME + CLOCK_SKEW + TICK, ended=NOW)) is None


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (None, DOUBT),
        (STARTED - CLOCK_SKEW, OTHERS),
        (CLOSE_TIME, OTHERS),
        (STARTED - CLOCK_SKEW - TICK, None),
    ],
)
def test_a_row_that_ended_since_the_use_started_may_have_been_finished_by_it(
    ended: datetime | None, reason: LeaveReason | None
) -> None:
    assert left(OF, rival(ended=ended)) is reason


def test_a_row_without_a_creation_time_may_be_of_any_use() -> None:
    assert left(OF, rival(created_at=None)) is DOUBT


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
    of, claims = replace(OF, namespace=mine), Claims([rival(namespace=others)])

    verdict = decide(of, CLOSED, policy(namespace="default"), NOW, claims)

    assert isinstance(verdict, Leave) is same


def test_workflow_ids_that_only_a_collation_treats_as_equal_differ() -> None:
    assert left(OF, rival(workflow_id=OF.workflow_id.upper())) is None


def test_a_row_whose_rivals_cannot_be_read_is_left() -> None:
    verdict = decide(OF, CLOSED, policy(), NOW, Claims(Unknown("too slow")))

    assert verdict == Leave(OF, LeaveReason.UNKNOWN, "too slow")


def test_a_row_whose_chain_has_no_known_start_is_left() -> None:
    unknown: Closed = replace(CLOSED, start=None)

    assert isinstance(decide(OF, unknown, policy(), NOW), Leave)


# --- Times of which the zone is not known -----------------------------------------------------


def left_off(
    of: RunRow, *rivals: Rival, uses: tuple[Use, ...] = (), at: Closed = CLOSED
) -> LeaveReason | None:
    """Why the row is left a day later, if its times may be hours off."""
    rules = policy(shift=timedelta(hours=12), retention=timedelta(days=9))
    verdict = decide(of, at, rules, NOW + timedelta(days=1), Claims(rivals, uses))
    return verdict.reason if isinstance(verdict, Leave) else None


def test_a_row_whose_times_may_be_off_is_finished_if_its_id_has_one_use_and_one_row() -> None:
    assert left_off(made(-HOUR)) is None
    assert left_off(made(HOUR + MINUTE)) is LeaveReason.UNKNOWN, "or it was created after the end"


@pytest.mark.parametrize(
    ("made_at", "ended", "reason"),
    [
        pytest.param(-99 * HOUR, None, LeaveReason.UNKNOWN, id="long before"),
        pytest.param(FURTHEST_ZONE, None, LeaveReason.UNKNOWN, id="perhaps before the end"),
        pytest.param(FURTHEST_ZONE + 2 * HOUR, None, None, id="after the end"),
        pytest.param(-99 * HOUR, -FURTHEST_ZONE, LeaveReason.UNKNOWN, id="perhaps ended by it"),
        pytest.param(-99 * HOUR, -FURTHEST_ZONE - HOUR, None, id="ended before"),
    ],
)
def test_no_row_is_nearer_than_another_if_their_times_may_be_off(
    made_at: timedelta, ended: timedelta | None, reason: LeaveReason | None
) -> None:
    other = rival(ended=None if ended is None else STARTED + ended, created_at=STARTED + made_at)

    assert left_off(made(-HOUR), other) is reason


def test_a_use_that_closed_hours_before_may_be_that_of_a_row_whose_times_are_off() -> None:
    def use(before: timedelta) -> Use:
        return Use("b", STARTED - 99 * HOUR, STARTED - HOUR - before)

    assert left_off(made(-HOUR), uses=(use(FURTHEST_ZONE),)) is LeaveReason.UNKNOWN
    assert left_off(made(-HOUR), uses=(use(FURTHEST_ZONE + 2 * CLOCK_SKEW),)) is None


@pytest.mark.parametrize("column", ["created_at", "updated_at"])
def test_a_row_is_not_finished_while_it_may_be_younger_than_grace(column: str) -> None:
    rules = policy(shift=timedelta(hours=12), retention=timedelta(days=9))
    old = timedelta(hours=12) + rules.grace
    run_id = None if column == "created_at" else "run-first"
    for age, young in ((old - TICK, True), (old, False)):
        of = replace(OF, created_at=NOW - 2 * old, run_id=run_id)
        of = replace(of, **{column: NOW - age})  # type: ignore[arg-type]

        verdict = decide(of, replace(CLOSED, start=start(NOW - HOUR)), rules, NOW)

        assert (isinstance(verdict, Leave) and verdict.reason) is (
            LeaveReason.TOO_YOUNG if young else False
        )
