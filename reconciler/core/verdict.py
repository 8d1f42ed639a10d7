"""From an observation to a verdict: the rules of the product.

| observation | verdict |
|---|---|
| Closed COMPLETED | finish `completed`, with the close time and no message |
| Closed COMPLETED, and there is no value for it | leave: completed |
| Closed FAILED, TIMED_OUT, TERMINATED, CANCELED | finish `failed`, or the value for this end |
| Open | leave: open |
| Closed or Missing; row changed less than `grace` ago | leave: too young |
| Closed before the row was created; row younger than `grace` | leave: too young |
| the same, and another chain of runs has its workflow id now | leave: unknown |
| Closed; row without run id, and it or the chain younger than `grace` | leave: too young |
| Closed; row without run id, the chain is not its own (`core.own_use`) | as Missing, id in use |
| Closed; row without run id, in doubt whether the chain is its own | leave: unknown |
| Missing; row younger than `grace` | leave: too young |
| Missing; row younger than the retention, without run id | leave: never started (*) |
| Missing; row younger than the retention, with run id | leave: deleted (*) |
| Missing; row older | leave: expired (*) |
| Missing, but the workflow id is in use | left as above, whatever `missing` says |
| Missing; row without creation time | leave: unknown |
| Unknown | leave: unknown |
| none, as the row has no workflow id | leave: no workflow id, whatever `missing` says |

(*) With `missing = fail`: finish `failed`, "outcome unknown: …", unless `passes.breaker` holds such
rows back.

If the row may look older than it is, by up to `shift`, it is left as too young until that no longer
matters: if it is missing, or has no run id, or has a time of the last change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from reconciler.core.model import (
    Closed,
    Finish,
    Leave,
    LeaveReason,
    Missing,
    Observation,
    Open,
    Outcome,
    Rival,
    RunRow,
    Unasked,
    Unknown,
    Use,
    Verdict,
)
from reconciler.core.own_use import (
    CLOCK_SKEW,
    ZONE_UNKNOWN,
    check_rivals,
    check_times,
    check_uses,
    made_earlier,
)
from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.text import one_line

#: Why a row may be about another run soon: a Retry button marks the old row as running, and stores
#: the run id of the new run once that has started.
TOUCHED = "it was changed less than RECONCILER_GRACE ago, and may be about to start again"
_ON_ITS_WAY = "its run id may still be on its way"
_OLDER_RUN = "its run had ended before the row was created"


@dataclass(frozen=True, slots=True)
class Claims:
    """What may contradict that the use that has closed is a row's own; `Unknown` if unreadable."""

    #: Other rows of the workflow id.
    rivals: Sequence[Rival] | Unknown = ()
    #: Other uses of it since the row was created.
    uses: Sequence[Use] | Unknown = ()


def decide(
    row: RunRow,
    observation: Observation,
    policy: Policy,
    now: datetime,
    claims: Claims | None = None,
) -> Verdict:
    """Decide about `row`, given what Temporal said. Pure. When in doubt, leaves the row.

    Decide without `claims` first. If `needs_claims` of that verdict, it holds only if they contain
    no doubt.
    """
    match observation:
        case Open(status, screened, evidence):
            return Leave(row, LeaveReason.OPEN, status, screened=screened, evidence=evidence)
        case Unknown(cause):
            return Leave(row, LeaveReason.UNKNOWN, cause)
        case Unasked():
            return Leave(row, LeaveReason.NO_WORKFLOW_ID)
        case Closed() | Missing() if row.updated_at and now - row.updated_at < policy.grace:
            return Leave(row, LeaveReason.TOO_YOUNG, TOUCHED)
        case Closed() if _may_be_young(row.updated_at, policy, now):
            return Leave(row, LeaveReason.TOO_YOUNG, f"it may have been changed; {ZONE_UNKNOWN}")
        case Closed():
            return _decide_closed(row, observation, policy, now, claims or Claims())
        case Missing():
            return _decide_missing(row, observation, policy, now)
        case _:
            assert_never(observation)


def old_enough_at(row: RunRow, policy: Policy) -> datetime | None:
    """Before which time a row is left as too young, however its workflow has closed; None: none."""
    times = [row.updated_at, None if row.run_id else row.created_at]
    known = [time for time in times if time is not None]
    return max(known) + policy.grace if known else None


def needs_claims(verdict: Verdict) -> bool:
    """Whether the verdict holds only if the use that has closed is the row's own.

    A run id identifies the row's run. Without one, another row or another use may fit as well.
    """
    match verdict:
        case Finish(outcome, missing=None):
            return not outcome.row.run_id
        case _:
            return False


def _decide_closed(
    row: RunRow, closed: Closed, policy: Policy, now: datetime, claims: Claims
) -> Verdict:
    if not row.run_id:
        # Applications insert the row, start the workflow and then store the run id, or start
        # first. Until the run id is stored, the run that closed may be another row's.
        retention = policy.retention if closed.retention is None else closed.retention
        began = [row.created_at, None if closed.start is None else closed.start.at]
        if any(time is not None and now - time < policy.grace for time in began):
            return Leave(row, LeaveReason.TOO_YOUNG, _ON_ITS_WAY)
        doubt = check_times(row, closed, now, retention, policy.off)
        if doubt is None and _may_be_young(row.created_at, policy, now):
            return Leave(row, LeaveReason.TOO_YOUNG, f"{_ON_ITS_WAY}; {ZONE_UNKNOWN}")
        doubt = (
            doubt
            or check_rivals(row, closed, claims.rivals, policy.namespace, policy.off)
            or check_uses(made_earlier(row, policy.off), claims.uses)
        )
        if doubt is not None:
            return decide(row, doubt, policy, now)
    elif row.created_at and closed.close_time < row.created_at - CLOCK_SKEW:
        # Its creation time may be that of a retry, whose run id is not stored yet. Or the row was
        # created late. A creation time in the future is in another time zone, and says neither.
        age = now - row.created_at
        if abs(age) < policy.grace:
            return Leave(row, LeaveReason.TOO_YOUNG, _OLDER_RUN)
        if closed.id_in_use and age > timedelta(0):
            return Leave(row, LeaveReason.UNKNOWN, f"{_OLDER_RUN}, and its id is in use again")
    status = policy.statuses.of(closed.status)
    if status is None:
        return Leave(row, LeaveReason.COMPLETED)
    return Finish(_outcome_of_closed(row, closed, status, policy))


def _may_be_young(time: datetime | None, policy: Policy, now: datetime) -> bool:
    """Whether this time may be less than `grace` ago in another time zone."""
    return bool(policy.shift and time and now - time - policy.shift < policy.grace)


def _decide_missing(row: RunRow, missing: Missing, policy: Policy, now: datetime) -> Verdict:
    detail = missing.detail
    if row.created_at is None:
        return Leave(row, LeaveReason.UNKNOWN, f"{detail}, and the row has no creation time")
    age = now - row.created_at
    if age < policy.grace:
        return Leave(row, LeaveReason.TOO_YOUNG, detail)
    retention = policy.retention if missing.retention is None else missing.retention
    reason = _why_missing(row, age, retention)
    if missing.id_in_use or policy.missing is MissingPolicy.LEAVE:
        return Leave(row, reason, detail)
    touched = max(row.created_at, row.updated_at or row.created_at)
    if now - touched - policy.shift < policy.grace:
        return Leave(row, LeaveReason.TOO_YOUNG, f"{detail}; {ZONE_UNKNOWN}")
    return Finish(_outcome_of_missing(row, reason, policy), missing=reason)


def _why_missing(row: RunRow, age: timedelta, retention: timedelta) -> LeaveReason:
    """Classify a missing row as precisely as possible.

    A row younger than the retention cannot have expired: Temporal deletes a closed workflow at
    close time + retention at the earliest. Such a row was started if it has a run id, because run
    ids come from Temporal. About an older row nothing more is known.
    """
    if age >= retention:
        return LeaveReason.EXPIRED
    return LeaveReason.DELETED if row.run_id else LeaveReason.NEVER_STARTED


def _outcome_of_closed(row: RunRow, closed: Closed, status: str, policy: Policy) -> Outcome:
    failure = closed.failure
    return Outcome(
        row=row,
        status=status,
        completed_at=closed.close_time,
        error_message=None if failure is None else policy.message(failure),
        temporal_status=closed.status.value,
        final_run_id=closed.run_id,
        workflow_type=closed.workflow_type,
    )


_WHAT_IS_MISSING = {
    LeaveReason.NEVER_STARTED: "outcome unknown: no such workflow in Temporal",
    LeaveReason.DELETED: "outcome unknown: deleted from Temporal",
    LeaveReason.EXPIRED: "outcome unknown: past Temporal's retention",
}


def _outcome_of_missing(row: RunRow, reason: LeaveReason, policy: Policy) -> Outcome:
    text = _WHAT_IS_MISSING[reason]
    return Outcome(
        row=row,
        status=policy.statuses.failed,
        completed_at=None,  # Temporal gave no close time, and any other would be invented
        error_message=one_line(text, policy.error_message_limit),
        temporal_status="NOT_FOUND",
        final_run_id=None,
    )
