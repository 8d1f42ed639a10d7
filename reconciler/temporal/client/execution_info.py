"""Read Temporal's description of a run: its status, and its times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from reconciler.core.model import CloseStatus
from reconciler.temporal.client.error_codes import NotNow

_EPOCH = datetime.fromtimestamp(0, UTC)

# By Temporal's own names.
_CLOSE_STATUSES = {Status.Value(f"WORKFLOW_EXECUTION_STATUS_{each}"): each for each in CloseStatus}
#: A status of server 1.30, which the oldest supported SDK does not know yet.
PAUSED = 8
_NAMES: Mapping[int, str] = {
    **{status: name.removeprefix("WORKFLOW_EXECUTION_STATUS_") for name, status in Status.items()},
    PAUSED: "PAUSED",
}


def close_status(info: WorkflowExecutionInfo) -> CloseStatus | None:
    """How the run ended its chain; None if it has not."""
    return _CLOSE_STATUSES.get(info.status)


def is_continued(info: WorkflowExecutionInfo) -> bool:
    """Whether another run of the chain follows."""
    return info.status == Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW


def is_open(info: WorkflowExecutionInfo) -> bool:
    """Whether the run is open: running, paused, or of a status unknown here."""
    return info.status not in _CLOSE_STATUSES and not is_continued(info)


def status_name(info: WorkflowExecutionInfo) -> str:
    """The status's name, or its number if only a newer server has a name for it."""
    return _NAMES.get(info.status) or str(info.status)


def to_datetime(timestamp: Timestamp, what: str = "time") -> datetime:
    """Temporal's timestamp in UTC, to the microsecond that PostgreSQL stores.

    Raises `NotNow`, naming `what`, for a timestamp that does not exist or was never set (1970 in
    protobuf, year 1 in Go). The first and the last year are refused too: asyncpg stores their ends
    as infinite times, and with a time zone they leave the calendar.
    """
    try:
        moment = timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise NotNow(f"Temporal gives an impossible {what}") from None
    if moment == _EPOCH or not MINYEAR < moment.year < MAXYEAR:
        raise NotNow(f"Temporal gives no {what}, or one that cannot be stored")
    return moment
