"""Activities that make no progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from reconciler.core.stuck.condition import Condition, Reason
from reconciler.core.stuck.wording import at, condition, labelled, name
from reconciler.core.stuck.workflow import ActivityState, OpenWorkflow, PendingActivity
from reconciler.core.text import duration

#: Of its heartbeat timeout, how much may pass without a sign of life. SDKs send heartbeats after
#: 80 % of it at the latest, and after all of it the server ends the attempt.
SILENT_AFTER = 0.9

_UNKNOWN = datetime.max.replace(tzinfo=UTC)
_PAUSED = (ActivityState.PAUSED, ActivityState.PAUSE_REQUESTED)
_WITH_A_WORKER = (ActivityState.STARTED, ActivityState.CANCEL_REQUESTED)


def oldest_first(activities: Iterable[PendingActivity]) -> Sequence[PendingActivity]:
    """The activities in an order that is the same in each pass; Temporal's is not."""
    return sorted(activities, key=_age)


def activity_paused(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """An operator, or a rule, has paused an activity."""
    paused = [each for each in oldest_first(workflow.activities) if each.state in _PAUSED]
    if not paused:
        return None
    activity, pause = paused[0], paused[0].pause
    return condition(
        Reason.ACTIVITY_PAUSED,
        name(activity.activity_type),
        "paused" if activity.state is ActivityState.PAUSED else "paused after this attempt",
        (
            labelled("by", pause.by) if pause else None,
            at("at", pause.at, now) if pause else None,
            _attempt(activity),
            labelled("last failure:", activity.failure or ""),
            _others(paused),
        ),
        failure=pause.reason if pause else "",
        since=pause.at if pause else None,
        own=(workflow.workflow_id,),
    )


def activity_retrying(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """An activity has failed, and Temporal attempts it again."""
    retrying = [
        each
        for each in oldest_first(workflow.activities)
        if each.attempt > 1 and each.failure is not None
    ]
    if not retrying:
        return None
    activity = retrying[0]
    return condition(
        Reason.ACTIVITY_RETRYING,
        name(activity.activity_type),
        "",
        (
            _attempt(activity),
            _whereabouts(activity, now),
            at("expires", activity.expires_at, now),
            _others(retrying),
        ),
        failure=activity.failure or "",
        since=activity.first_scheduled_at,
        own=(workflow.workflow_id,),
    )


def activity_silent(workflow: OpenWorkflow, now: datetime) -> Condition | None:
    """A worker has an activity, and sends no heartbeats."""
    silent = [each for each in oldest_first(workflow.activities) if _is_silent(each, now)]
    if not silent:
        return None
    activity = silent[0]
    return condition(
        Reason.ACTIVITY_SILENT,
        name(activity.activity_type),
        "no heartbeat",
        (
            _attempt(activity),
            at("last sign of life at", _sign_of_life(activity), now),
            f"timeout {duration(activity.heartbeat_timeout)}"
            if activity.heartbeat_timeout
            else None,
            labelled("worker", activity.worker),
            _others(silent),
        ),
        since=_sign_of_life(activity),
        own=(workflow.workflow_id,),
    )


def _is_silent(activity: PendingActivity, now: datetime) -> bool:
    seen = _sign_of_life(activity)
    if activity.state not in _WITH_A_WORKER or not activity.heartbeat_timeout or not seen:
        return False
    return now - seen > SILENT_AFTER * activity.heartbeat_timeout


def _sign_of_life(activity: PendingActivity) -> datetime | None:
    """The last in this attempt: its start, or a later heartbeat."""
    signs = (activity.started_at, activity.heartbeat_at)
    return max((each for each in signs if each), default=None)


def _attempt(activity: PendingActivity) -> str:
    limit = f" of {activity.maximum_attempts}" if activity.maximum_attempts else ""
    return f"attempt {activity.attempt}{limit}"


def _whereabouts(activity: PendingActivity, now: datetime) -> str | None:
    """What this attempt does: it runs, is to come, or has come and waits for a worker."""
    if activity.state in _WITH_A_WORKER:
        return at("running since", activity.started_at, now)
    due = activity.due_at
    return at("next at" if due and due > now else "due since", due, now)


def _others(alike: Sequence[PendingActivity]) -> str | None:
    return f"{len(alike) - 1} more such" if len(alike) > 1 else None


def _age(activity: PendingActivity) -> tuple[datetime, int, str]:
    """By its first attempt, if that is known; else by its id: SDKs number activities."""
    began = activity.first_scheduled_at or _UNKNOWN
    return began, len(activity.activity_id), activity.activity_id
