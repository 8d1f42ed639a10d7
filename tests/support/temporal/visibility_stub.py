"""A stub of a visibility store: answers list calls and records them."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.service import RPCError

from tests.support.factories import NOW

RUNNING = Status.WORKFLOW_EXECUTION_STATUS_RUNNING


def run(
    workflow_id: str,
    run_id: str,
    status: int = RUNNING,
    *,
    first: str = "",
    started: datetime = NOW,
) -> WorkflowExecutionInfo:
    start_time = Timestamp()
    start_time.FromDatetime(started)
    info: Any = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        first_run_id=first or run_id,
        start_time=start_time,
    )
    info.status = status
    checked: WorkflowExecutionInfo = info
    return checked


class Service:
    """Lists the runs whose workflow ids are in the query."""

    def __init__(self, *runs: WorkflowExecutionInfo) -> None:
        self.runs: list[WorkflowExecutionInfo] = list(runs)
        #: Errors to raise instead, by namespace: one per call, and the last one again and again.
        self.refusals: dict[str, list[RPCError]] = {}
        self.more = b""
        self.asked: list[ListWorkflowExecutionsRequest] = []
        self.namespaces: defaultdict[str, list[RPCError]] = defaultdict(list)

    @property
    def ids(self) -> list[list[str]]:
        """The ids of each call so far."""
        return [ids_of(request.query) for request in self.asked]

    async def list_workflow_executions(
        self, request: ListWorkflowExecutionsRequest, **_: Any
    ) -> ListWorkflowExecutionsResponse:
        self.asked.append(request)
        await asyncio.sleep(0)
        if refusals := self.refusals.get(request.namespace):
            raise refusals.pop(0) if len(refusals) > 1 else refusals[0]
        return ListWorkflowExecutionsResponse(
            executions=_of(self.runs, ids_of(request.query)), next_page_token=self.more
        )

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **_: Any
    ) -> DescribeWorkflowExecutionResponse:
        (info,) = _of(self.runs, [request.execution.workflow_id])
        return DescribeWorkflowExecutionResponse(workflow_execution_info=info)

    async def describe_namespace(
        self, request: DescribeNamespaceRequest, **_: Any
    ) -> DescribeNamespaceResponse:
        if refusals := self.namespaces[request.namespace]:
            raise refusals[0]
        kept = Duration()
        kept.FromTimedelta(timedelta(days=1))
        return DescribeNamespaceResponse(
            namespace_info=NamespaceInfo(name=request.namespace),
            config=NamespaceConfig(workflow_execution_retention_ttl=kept),
        )


def ids_of(query: str) -> list[str]:
    found = re.match(r"WorkflowId IN \((.*?)\) AND ", query)
    assert found, query
    return re.findall(r"'([^']*)'", found[1])


def _of(runs: Iterable[WorkflowExecutionInfo], ids: list[str]) -> list[WorkflowExecutionInfo]:
    return [info for info in runs if info.execution.workflow_id in ids]
