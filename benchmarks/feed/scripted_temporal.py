"""A Temporal in which workflows close when a benchmark closes them, for any number of workflows.

It answers over gRPC, in the benchmark's own process. Every workflow is open until it is closed; how
its answers look is taken from server 1.32. What they do not show is how long a server takes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    WorkflowExecutionFailedEventAttributes,
)
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutionsResponse,
)

from reconciler.core.model import CloseStatus
from tests.support.network.frontend import Answer, Frontend, frontend

_OF_A_STATUS = re.compile(r"ExecutionStatus = '(\w+)'")
_ID = re.compile(r"'([^']+)'")
#: The SQL of `run_of`, for a column `workflow_id`.
RUN_OF = "md5(workflow_id)::uuid::text"


def run_of(workflow_id: str) -> str:
    """The only run of a workflow."""
    return str(UUID(hex=md5(workflow_id.encode(), usedforsecurity=False).hexdigest()))


@dataclass(slots=True)
class ScriptedTemporal:
    """A server: what has closed there, and the calls so far."""

    _front: Frontend
    #: Polls of the feed: each lists what was terminated, among others.
    polls: int = 0
    _closed: dict[str, tuple[CloseStatus, datetime]] = field(default_factory=dict)
    #: By namespace and the status as queries name it, the oldest first: answers with one result.
    _listed: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def close(
        self, workflow_id: str, status: CloseStatus, at: datetime, namespace: str = "default"
    ) -> None:
        """Close a workflow; none of its namespace and status may have closed later."""
        self._closed[workflow_id] = status, at
        info = _info(workflow_id, status, at)
        one = ListWorkflowExecutionsResponse(executions=[info]).SerializeToString()
        self._listed[namespace, _query_name(status)].append(one)

    @property
    def address(self) -> str:
        """Host and port."""
        return self._front.address

    @property
    def calls(self) -> Counter[str]:
        """The calls so far, by method."""
        calls: Counter[str] = Counter()
        for (method, _), count in self._front.asked.items():
            calls[method] += count
        return calls

    def list(self, request: Any) -> Answer:
        """A page of the newest closings of a status, or the open workflows among some ids."""
        asked = _OF_A_STATUS.fullmatch(request.query)
        if asked is None:
            ids = _ID.findall(request.query.partition(")")[0])
            is_open = [_info(each) for each in ids if each not in self._closed]
            return ListWorkflowExecutionsResponse(executions=is_open)
        listed = self._listed[request.namespace, asked[1]]
        if asked[1] == "Terminated" and not request.next_page_token:
            self.polls += 1
        end = int(request.next_page_token or len(listed))
        begin = max(end - request.page_size, 0)
        token = str(begin).encode() if begin else b""
        # Messages that follow one another are merged by who reads them.
        rest = ListWorkflowExecutionsResponse(next_page_token=token).SerializeToString()
        return b"".join([*reversed(listed[begin:end]), rest])

    def describe(self, request: Any) -> Answer:
        """The workflow's only run."""
        workflow_id = request.execution.workflow_id
        info = _info(workflow_id, *self._closed.get(workflow_id, ()))
        return DescribeWorkflowExecutionResponse(workflow_execution_info=info)

    def history(self, request: Any) -> Answer:
        """The end of a workflow that has failed."""
        _, at = self._closed[request.execution.workflow_id]
        failure = Failure(
            message="card declined",
            application_failure_info=ApplicationFailureInfo(type="OrderFailed"),
        )
        event = HistoryEvent(
            event_id=9,
            event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
            event_time=_timestamp(at),
            workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
                failure=failure
            ),
        )
        return GetWorkflowExecutionHistoryResponse(history=History(events=[event]))


@asynccontextmanager
async def scripted_temporal() -> AsyncIterator[ScriptedTemporal]:
    """Listen on loopback, without TLS."""
    async with frontend() as front:
        script = ScriptedTemporal(front)
        front.answers["ListWorkflowExecutions"] = script.list
        front.answers["DescribeWorkflowExecution"] = script.describe
        front.answers["GetWorkflowExecutionHistory"] = script.history
        yield script


def _info(
    workflow_id: str, status: CloseStatus | None = None, closed_at: datetime | None = None
) -> WorkflowExecutionInfo:
    name = "RUNNING" if status is None else status.name
    run_id = run_of(workflow_id)
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        type=WorkflowType(name="Order"),
        status=WorkflowExecutionStatus.Value(f"WORKFLOW_EXECUTION_STATUS_{name}"),
        first_run_id=run_id,
    )
    if closed_at is not None:
        info.start_time.CopyFrom(_timestamp(closed_at - timedelta(minutes=1)))
        info.close_time.CopyFrom(_timestamp(closed_at))
    return info


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def _query_name(status: CloseStatus) -> str:
    return status.title().replace("_", "")
