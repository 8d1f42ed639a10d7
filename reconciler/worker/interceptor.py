"""Makes every chosen workflow of a worker report its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.converter import FailureConverter
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from reconciler.worker.decorator import leave_to_plugin, reports_itself
from reconciler.worker.report import Report, run_and_report


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
        interceptor = self

        class ReportingInbound(_ReportingInbound):
            def new_report(self) -> Report:
                wanted = interceptor.selection.includes(workflow.info())
                return Report(wanted, interceptor.failure_converter, interceptor.task_queue)

        return ReportingInbound


class _ReportingInbound(WorkflowInboundInterceptor):
    """One run of one workflow."""

    _report: Report | None = None

    def new_report(self) -> Report:
        raise NotImplementedError

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        report = self._report = self.new_report()
        if reports_itself(input.run_fn):
            if not report.wanted:
                return await self.next.execute_workflow(input)
            leave_to_plugin(workflow.instance())
        return await run_and_report(self.next.execute_workflow(input), report)

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        """Let no signal decide how the workflow ends once that is settled.

        A signal's handler can fail a workflow or continue it as new, past its function. Without
        the report the workflow would have been closed by then.
        """
        try:
            await self.next.handle_signal(input)
        except (Exception, workflow.ContinueAsNewError) as error:
            if self._report is None or not self._report.settled:
                raise
            workflow.logger.warning(
                "signal %s came after the end of this workflow: %r", input.signal, error
            )
