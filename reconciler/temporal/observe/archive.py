"""How a run ended that is only in the namespace's history archive.

For a deleted run of a namespace that archives, the server returns the history that was archived
when the run closed (server 1.32, workflow_handler.go: getArchivedHistory). Descriptions are not
archived, so everything comes from the events.

If a run was reset after it had closed, the archive does not show it: the history was complete
before. Such a run counts with its own end.
"""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent

from reconciler.core.model import Closed, CloseStatus
from reconciler.temporal.client.error_codes import RowError
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.close_event import (
    describe_close,
    is_reset,
    next_run_id,
    status_of,
)
from reconciler.temporal.failures.failure_decoder import FailureDecoder


async def archived_end(
    rpc: Rpc, workflow_id: str, run_id: str, decoder: FailureDecoder | None = None
) -> Closed | str:
    """The end of the chain if this archived run is its last, else the id of the next run.

    Raises `NotFound` if the run is not archived, `RowError` if its archive is inconsistent. A
    file store answers INTERNAL for a run it does not have, which is a `RowError`: the server hides
    the reason (server 1.32, filestore/history_archiver.go, mask_internal_error.go).
    """
    last: HistoryEvent | None = None
    workflow_type = cancel_cause = ""
    async for event in rpc.archived_events(workflow_id, run_id):
        last = event
        match event.WhichOneof("attributes"):
            case "workflow_execution_started_event_attributes":
                started = event.workflow_execution_started_event_attributes
                workflow_type = started.workflow_type.name
            case "workflow_execution_cancel_requested_event_attributes":
                requested = event.workflow_execution_cancel_requested_event_attributes
                cancel_cause = requested.cause
    if last is None:
        raise RowError("the archived history has no events")
    if next_id := next_run_id(last):
        return next_id
    status = _close_status(last)
    if decoder:
        last = await decoder.decode_event(last, rpc.namespace, workflow_id)
    failure = None if status is CloseStatus.COMPLETED else describe_close(last, cancel_cause)
    return Closed(
        status,
        to_datetime(last.event_time, "close time"),
        run_id,
        failure,
        workflow_type=workflow_type,
    )


def _close_status(last: HistoryEvent) -> CloseStatus:
    status = status_of(last)
    if status is None:
        raise RowError("the archived history does not end with a close event")
    if is_reset(last):
        # Only the description, which is gone, has the id of the run that replaced it.
        raise RowError("the run was reset, and its archive does not say which run replaced it")
    return status
