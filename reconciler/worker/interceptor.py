"""Makes every chosen workflow of a worker report its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.converter import FailureConverter
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from reconciler.worker.decorator import reports_itself
from reconciler.worker.report import Reporting, run_and_report


@dataclass(frozen=True, slots=True)
class Selection:
    """Which workflows report."""

    #: Workflow types; None: all.
    only: frozenset[str] | None = None
    skip: frozenset[str] = frozenset()
    #: Whether child workflows do.
    children: bool = False

    def includes(self, info: workflow.Info) -> bool:
        """Whether this workflow is to report its end."""
        if info.parent is not None and not self.children:
            return False
        if self.only is not None and info.workflow_type not in self.only:
            return False
        return info.workflow_type not in self.skip


@dataclass(frozen=True, slots=True)
class MainPathInterceptor(Interceptor):
    """Wraps the function of every workflow of a worker."""

    selection: Selection
    #: The failure converter of the worker.
    failure_converter: type[FailureConverter]
    task_queue: str | None = None

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's own name
    ) -> type[WorkflowInboundInterceptor]:
        """The class that is instantiated for each run of a workflow. It is not sandboxed."""

        class ReportingInbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
                if reports_itself(input.run_fn):
                    return await self.next.execute_workflow(input)
                return await run_and_report(self.next.execute_workflow(input), reporting())

        def reporting() -> Reporting:
            wanted = self.selection.includes(workflow.info())
            return Reporting(wanted, self.failure_converter, self.task_queue)

        return ReportingInbound
