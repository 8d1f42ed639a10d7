"""Calls about work that waits: task queues, and the latest events of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    GetWorkflowExecutionHistoryReverseRequest,
)

from reconciler.temporal.client.error_codes import NotFound, RowError
from reconciler.temporal.client.namespace_calls import NamespaceCalls


class TaskCalls(NamespaceCalls):
    """Calls that say why work is not done."""

    async def describe_queue(
        self, name: str, type_: TaskQueueType.ValueType
    ) -> DescribeTaskQueueResponse:
        """Who polls a task queue, and how many tasks it holds, of all worker versions.

        Temporal knows every queue: one that nobody uses is empty. Raises `Denied`.
        """
        request = DescribeTaskQueueRequest(
            namespace=self.namespace,
            task_queue=TaskQueue(name=name),
            task_queue_type=type_,
            report_stats=True,
        )
        try:
            return await self._call("queue", partial(self._service.describe_task_queue, request))
        except NotFound as error:
            raise RowError(f"not_found: {error}") from error

    async def latest_events(
        self, workflow_id: str, run_id: str, count: int
    ) -> Sequence[HistoryEvent]:
        """The latest events of a run, the last first. Raises `NotFound`."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=count,
        )
        method = partial(self._service.get_workflow_execution_history_reverse, request)
        return (await self._call("history", method)).history.events
