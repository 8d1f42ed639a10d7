"""What Temporal's description of a workflow says, in our words."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from reconciler.core.model import CloseStatus
from reconciler.temporal.client.error_codes import NotNow

_EPOCH = datetime.fromtimestamp(0, UTC)

_CLOSE_STATUSES = {
    Status.WORKFLOW_EXECUTION_STATUS_COMPLETED: CloseStatus.COMPLETED,
    Status.WORKFLOW_EXECUTION_STATUS_FAILED: CloseStatus.FAILED,
    Status.WORKFLOW_EXECUTION_STATUS_CANCELED: CloseStatus.CANCELED,
    Status.WORKFLOW_EXECUTION_STATUS_TERMINATED: CloseStatus.TERMINATED,
    Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: CloseStatus.TIMED_OUT,
}


def close_status(info: WorkflowExecutionInfo) -> CloseStatus | None:
    """How the run ended its chain; None if it did not, or not yet."""
    return _CLOSE_STATUSES.get(info.status)


def is_continued(info: WorkflowExecutionInfo) -> bool:
    """Whether another run of the chain follows."""
    return info.status == Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW


def is_open(info: WorkflowExecutionInfo) -> bool:
    """Whether the run goes on: running, paused, or in a state this version does not know."""
    return info.status not in _CLOSE_STATUSES and not is_continued(info)


def status_name(info: WorkflowExecutionInfo) -> str:
    """The status in words; a number where a newer server has one without a name here."""
    if info.status not in Status.values():
        return str(info.status)
    return Status.Name(info.status).removeprefix("WORKFLOW_EXECUTION_STATUS_")


def to_datetime(timestamp: Timestamp, what: str = "time") -> datetime:
    """Temporal's timestamp in UTC, to the microsecond that PostgreSQL stores.

    Raises `NotNow`, naming `what` is not there, for a timestamp that was never set (1970 in
    protobuf, year 1 in Go) or does not exist. So do the first and the last year: asyncpg stores
    their ends as infinite times, and with a time zone they leave the calendar.
    """
    try:
        moment = timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise NotNow(f"Temporal gives an impossible {what}") from None
    if moment == _EPOCH or not MINYEAR < moment.year < MAXYEAR:
        raise NotNow(f"Temporal gives no {what}, or one that cannot be stored")
    return moment
