"""What the end of a run's history says: why it ended, and which run follows it.

A run's description and its history must agree; if they do not, neither is evidence.
"""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from reconciler.core.model import CloseStatus
from reconciler.temporal.client.error_codes import NotFound, NotNow, RowError
from reconciler.temporal.client.execution_info import close_status, status_name
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.close_event import (
    describe_close,
    describe_unread,
    is_reset,
    next_run_id,
    status_of,
)
from reconciler.temporal.failures.failure_decoder import FailureDecoder


class BetweenRuns(NotNow):
    """Another run follows this one in its chain."""


async def why_closed(
    rpc: Rpc, info: WorkflowExecutionInfo, status: CloseStatus, decoder: FailureDecoder | None
) -> str:
    """Why a run ended, in one line; by its description it is the last of its chain.

    If its history cannot be read, the text says so: status and close time are known, and waiting
    would not help. Raises `NotNow` if waiting may help, or if the history contradicts the
    description.
    """
    try:
        event = await _close_event(rpc, info)
        _check(event, info, status)
        cause = ""
        if status is CloseStatus.CANCELED:
            cause = await rpc.cancel_cause(info.execution.workflow_id, info.execution.run_id)
    except NotNow:
        raise
    except RowError as error:
        return describe_unread(status, str(error))
    if decoder:
        event = await decoder.decode_event(event, rpc.namespace, info.execution.workflow_id)
    return describe_close(event, cause)


async def next_run(rpc: Rpc, run: DescribeWorkflowExecutionResponse) -> str:
    """The id of the next run in the chain of this closed one; empty if it is the last."""
    if reset := run.workflow_extended_info.reset_run_id:
        return reset
    info = run.workflow_execution_info
    try:
        event = await _close_event(rpc, info)
    except NotFound as error:
        raise NotNow("its history is gone, and with it the id of the next run") from error
    next_id = next_run_id(event)
    if not next_id and (status := close_status(info)):
        _check(event, info, status)
    return next_id


def _check(event: HistoryEvent, info: WorkflowExecutionInfo, status: CloseStatus) -> None:
    if next_run_id(event):
        raise BetweenRuns("between two runs of a chain")
    if is_reset(event) or status_of(event) is not status:
        raise NotNow(f"described as {status_name(info)}, but its history ends differently")


async def _close_event(rpc: Rpc, info: WorkflowExecutionInfo) -> HistoryEvent:
    workflow_id, run_id = info.execution.workflow_id, info.execution.run_id
    try:
        return await rpc.close_event(workflow_id, run_id)
    except (NotFound, NotNow):
        raise
    except RowError:  # a row is written only once, so its text is worth a second try
        return await rpc.close_event(workflow_id, run_id)
