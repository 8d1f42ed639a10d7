"""A Temporal with a worker, and ways for a test to act on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.model import Closed, Observation, RunRow
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.probe import TemporalProbe
from tests.support.polling import eventually

START_DELAY = timedelta(seconds=60)


@dataclass
class World:
    """A Temporal with a worker, and the workflow id of one test."""

    client: Client
    task_queue: str
    workflow_id: str
    probe: TemporalProbe = field(init=False)
    rpc: Rpc = field(init=False)

    def __post_init__(self) -> None:
        self.rpc = Rpc(self.client, RateLimiter(0))
        self.probe = TemporalProbe(self.rpc)

    async def start(
        self, script: str, text: str = "text", **options: Any
    ) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            "Scripted",
            args=[script, text],
            **{"id": self.workflow_id, "task_queue": self.task_queue, **options},
        )

    async def ended(self, handle: WorkflowHandle[Any, Any]) -> RunRow:
        """Wait for the chain to end; returns the row an application would have for it."""
        of = self.row(handle)
        await eventually(lambda: self.is_over(of))
        return of

    async def is_over(self, of: RunRow) -> bool:
        return isinstance(await self.probe.observe(of), Closed)

    @staticmethod
    def row(handle: WorkflowHandle[Any, Any], **fields: Any) -> RunRow:
        given = {"run_id": handle.first_execution_run_id, "created_at": datetime.now(UTC)}
        return RunRow(id=1, workflow_id=handle.id, **{**given, **fields})

    async def observe(self, of: RunRow) -> Observation:
        return await self.probe.observe(of)

    async def describe(self, run_id: str = "") -> DescribeWorkflowExecutionResponse:
        request = DescribeWorkflowExecutionRequest(
            namespace=self.client.namespace,
            execution=WorkflowExecution(workflow_id=self.workflow_id, run_id=run_id),
        )
        return await self.client.workflow_service.describe_workflow_execution(request)

    async def close_time(self, run_id: str = "") -> datetime:
        return to_datetime((await self.describe(run_id)).workflow_execution_info.close_time)

    async def reset(self, run_id: str) -> str:
        """Reset a run to its first workflow task; returns the new run's id."""
        request = ResetWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=self.workflow_id, run_id=run_id),
            reason="test reset",
            workflow_task_finish_event_id=4,
            request_id=uuid4().hex,
        )
        return (await self.client.workflow_service.reset_workflow_execution(request)).run_id

    async def delete(self, run_id: str) -> None:
        """Delete a run for good; returns when it is gone."""
        execution = WorkflowExecution(workflow_id=self.workflow_id, run_id=run_id)
        await self.client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=self.client.namespace, workflow_execution=execution
            )
        )

        async def gone() -> bool:
            try:
                await self.describe(run_id)
            except RPCError as error:
                return error.status == RPCStatusCode.NOT_FOUND
            return False

        await eventually(gone)

    async def first_task_done(self) -> None:
        async def done() -> bool:
            return (await self.describe()).workflow_execution_info.history_length >= 4

        await eventually(done)
