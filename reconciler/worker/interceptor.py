"""Makes every chosen workflow of a worker report its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow
from temporalio.converter import FailureConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from reconciler.worker.decorator import leave_to_plugin, reports_itself
from reconciler.worker.ending import LARGEST
from reconciler.worker.report import Report, run_and_report
from reconciler.worker.seal import ENDED, has_handlers, log_late_signal, overrules_history, refusal


@dataclass(frozen=True, slots=True)
class Selection:
    """Which workflows report."""

    #: Workflow types; None: all.
    only: frozenset[str] | None = None
    skip: frozenset[str] = frozenset()
    #: Whether child workflows do.
    children: bool = False
    #: Whether workflows that take signals or updates do.
    handlers: bool = True

    def includes(self, info: workflow.Info) -> bool:
        """Whether this workflow is to report its end."""
        if info.parent is not None and not self.children:
            return False
        if self.only is not None and info.workflow_type not in self.only:
            return False
        if info.workflow_type in self.skip:
            return False
        return self.handlers or not has_handlers()


@dataclass(slots=True)
class Surroundings:
    """What a worker is in, once that is known."""

    #: Bytes that its namespace takes.
    largest: int = LARGEST
    #: Whether other interceptors are further out.
    is_seen: bool = True


@dataclass(frozen=True, slots=True)
class MainPathInterceptor(Interceptor):
    """Wraps the function of every workflow of a worker."""

    selection: Selection
    #: The failure converter of the worker.
    failure_converter: type[FailureConverter]
    task_queue: str | None = None
    surroundings: Surroundings = field(default_factory=Surroundings)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's own name
    ) -> type[WorkflowInboundInterceptor]:
        """The class that is instantiated for each run of a workflow. It is not sandboxed."""
        interceptor = self

        class ReportingInbound(_ReportingInbound):
            def new_report(self) -> Report:
                return Report(
                    wanted=interceptor.selection.includes(workflow.info()),
                    failure_converter=interceptor.failure_converter,
                    task_queue=interceptor.task_queue,
                    handlers=interceptor.selection.handlers,
                    largest=interceptor.surroundings.largest,
                    is_seen=interceptor.surroundings.is_seen,
                    guarded=True,
                )

        return ReportingInbound


class _WatchingOutbound(WorkflowOutboundInterceptor):
    """Keeps the local activities that are not done."""

    def __init__(self, following: WorkflowOutboundInterceptor) -> None:
        super().__init__(following)
        self.local_activities: list[workflow.ActivityHandle[Any]] = []

    def start_local_activity(
        self,
        input: StartLocalActivityInput,  # noqa: A002
    ) -> workflow.ActivityHandle[Any]:
        handle = self.next.start_local_activity(input)
        still = [each for each in self.local_activities if not each.done()]
        self.local_activities[:] = [*still, handle]
        return handle


class _ReportingInbound(WorkflowInboundInterceptor):
    """One run of one workflow."""

    _report: Report | None = None
    _outbound: _WatchingOutbound

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Watch what the workflow starts."""
        self._outbound = _WatchingOutbound(outbound)
        super().init(self._outbound)

    def new_report(self) -> Report:
        raise NotImplementedError

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        report = self._report = self.new_report()
        report.local_activities = self._outbound.local_activities
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
            if not self._is_settled():
                raise
            log_late_signal(input.signal, error)
        except asyncio.CancelledError as error:
            # In a history of an earlier version it may have decided, and then does so again.
            if not (self._is_settled() and overrules_history()):
                raise
            log_late_signal(input.signal, error)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:  # noqa: A002
        """Refuse an update once the end is settled, without a trace in the history."""
        if self._is_settled():
            raise refusal()
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002
        """The same where there is no validator: it fails at once.

        An update that is still running then ends as it likes, but does not fail the workflow task.
        """
        if self._is_settled() and overrules_history():
            raise refusal()
        try:
            return await self.next.handle_update_handler(input)
        except (Exception, workflow.ContinueAsNewError) as error:
            if not self._is_settled() or workflow.is_failure_exception(error):
                raise
            raise ApplicationError(
                f"failed after this workflow had ended: {type(error).__name__}", type=ENDED
            ) from error

    def _is_settled(self) -> bool:
        return self._report is not None and self._report.settled
