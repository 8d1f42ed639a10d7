"""How and why a run ended, from its close event."""

from __future__ import annotations

from temporalio.api.enums.v1 import RetryState
from temporalio.api.history.v1 import HistoryEvent

from reconciler.core.model import CloseStatus
from reconciler.temporal.failures.text import describe_cancellation, describe_failure

_CLOSE_STATUSES = {
    f"workflow_execution_{status.lower()}_event_attributes": status for status in CloseStatus
}
# The identity that terminates an open run to reset it (server 1.32, consts/const.go).
_RESETTER = "history-resetter"


def status_of(event: HistoryEvent) -> CloseStatus | None:
    """How the event closed its run; None if it did not, or if it continued as new."""
    return _CLOSE_STATUSES.get(event.WhichOneof("attributes") or "")


def is_reset(event: HistoryEvent) -> bool:
    """Whether the event ended its run because it was reset: another run replaces it."""
    return event.workflow_execution_terminated_event_attributes.identity == _RESETTER


def describe_unread(status: CloseStatus, why: str) -> str:
    """The reason to give for a run that has ended like this but whose history cannot be read."""
    what = "failure" if status is CloseStatus.FAILED else "reason"
    return f"{status.value.lower().replace('_', ' ')} (the {what} could not be read: {why})"


def describe_close(event: HistoryEvent, cancel_cause: str = "") -> str:
    """The reason in a close event.

    `cancel_cause` comes from another event: the one that closes a cancelled run does not have it.
    """
    match event.WhichOneof("attributes"):
        case "workflow_execution_failed_event_attributes":
            return describe_failure(event.workflow_execution_failed_event_attributes.failure)
        case "workflow_execution_timed_out_event_attributes":
            # The event has no timeout type, but only the execution timeout sets
            # RETRY_STATE_TIMEOUT (measured on server 1.32).
            timed_out = event.workflow_execution_timed_out_event_attributes
            whole = timed_out.retry_state == RetryState.RETRY_STATE_TIMEOUT
            return f"workflow {'execution' if whole else 'run'} timed out"
        case "workflow_execution_terminated_event_attributes":
            terminated = event.workflow_execution_terminated_event_attributes
            by = f"terminated by {terminated.identity}" if terminated.identity else "terminated"
            return f"{by}: {terminated.reason}" if terminated.reason else by
        case "workflow_execution_canceled_event_attributes":
            return describe_cancellation(cancel_cause)
        case other:
            return f"closed by {other or 'an event without attributes'}"


def next_run_id(event: HistoryEvent) -> str:
    """The id of the run that follows by retry, cron or continue-as-new; empty if none does."""
    name = event.WhichOneof("attributes")
    return getattr(getattr(event, name), "new_execution_run_id", "") if name else ""
