"""A stub of a visibility store that lists closed runs, newest first."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)

from reconciler.core.model import CloseStatus
from tests.support.temporal.stubs import Namespaces


def closed(
    run_id: str, at: datetime | None, status: str = CloseStatus.COMPLETED
) -> WorkflowExecutionInfo:
    """A run of the workflow id `of <run_id>`; without a close time if `at` is None."""
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=f"of {run_id}", run_id=run_id),
        status=Status.Value(f"WORKFLOW_EXECUTION_STATUS_{status}"),
    )
    if at is not None:
        info.close_time.FromDatetime(at)
    return info


class Store(Namespaces):
    """Pages through these runs, in this order, whatever the query; records what it was asked."""

    def __init__(self, *runs: WorkflowExecutionInfo, names_next: bool = False) -> None:
        """`names_next`: whether each page with results has a token, as on some servers."""
        self.runs: list[WorkflowExecutionInfo] = list(runs)
        self.names_next = names_next
        #: What calls raise instead of an answer, in turn; None for an answer.
        self.troubles: list[Exception | None] = []
        self.asked: list[ListWorkflowExecutionsRequest] = []

    @property
    def sizes(self) -> list[int]:
        return [request.page_size for request in self.asked]

    async def list_workflow_executions(
        self, request: ListWorkflowExecutionsRequest, **_: Any
    ) -> ListWorkflowExecutionsResponse:
        self.asked.append(request)
        await asyncio.sleep(0)
        if self.troubles and (trouble := self.troubles.pop(0)):
            raise trouble
        begin = int(request.next_page_token or 0)
        end = begin + request.page_size
        page = self.runs[begin:end]
        more = page if self.names_next else self.runs[end:]
        return ListWorkflowExecutionsResponse(
            executions=page, next_page_token=str(end).encode() if more else b""
        )
