"""Makes every selected workflow of a worker report its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.converter import DefaultFailureConverter, FailureConverter
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

from reconciler.worker.after_close.choice import Choice
from reconciler.worker.after_close.notice import EXTERN, EndNotice, Notifier
from reconciler.worker.decorator import (
    give_target,
    is_decorated,
    leave_to_plugin,
    own_status_of,
    own_target,
)
from reconciler.worker.ending import PAYLOAD_LIMIT
from reconciler.worker.late_messages import (
    ENDED,
    has_handlers,
    log_late_signal,
    may_intervene,
    update_rejection,
)
from reconciler.worker.report import ONLY
from reconciler.worker.reporter import Reporter, StatusOf
from reconciler.worker.targets import TargetChoice

if TYPE_CHECKING:
    from reconciler.worker.after_close.backlog import Backlog


@dataclass(slots=True)
class MainPathInterceptor(Interceptor):
    """Wraps the function of every workflow of a worker."""

    #: The workflow types that report; None: all.
    only: frozenset[str] | None
    skip: frozenset[str]
    #: Whether child workflows report.
    children: bool
    #: Whether workflows with signal or update handlers report by the activity.
    handlers: bool
    #: Where the activity runs; None: on the workflow's own task queue.
    task_queue: str | None
    #: The workflow types that report after their close.
    after_close: Choice = field(default_factory=Choice)
    #: The target that the rows of each workflow type are in.
    targets: TargetChoice = field(default_factory=TargetChoice)
    #: The status for a result; None: the value for COMPLETED.
    status_of: StatusOf | None = None
    #: The failure converter of the worker.
    failure_converter: type[FailureConverter] = DefaultFailureConverter
    #: Bytes; set from the namespace's limit when the worker starts.
    payload_limit: int = PAYLOAD_LIMIT
    #: Whether there are interceptors further out; set when the worker starts.
    is_seen: bool = True
    #: The targets whose table is known not to fit: a report would hold its workflow for nothing.
    suspended: set[str] = field(default_factory=set)
    #: What settles the notices of ended workflows, for each target, while the worker runs.
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)
    #: The targets that the worker writes to; set for each worker.
    serves: Sequence[str] = (ONLY,)

    def of_worker(self, converter: type[FailureConverter]) -> MainPathInterceptor:
        """The interceptor of another worker, with what is its own."""
        return replace(self, failure_converter=converter, suspended=set(), backlogs={})

    def selects(self, info: workflow.Info) -> bool:
        """Whether the workflow that this is called in reports its end, in either way."""
        if info.parent is not None and not self.children:
            return False
        return self.selects_type(info.workflow_type)

    def selects_type(self, workflow_type: str | None) -> bool:
        """The same for a type; None: whether there may be one, of a dynamic workflow."""
        if workflow_type is None:
            return self.only is None or bool(self.only)
        if self.only is not None and workflow_type not in self.only:
            return False
        return workflow_type not in self.skip

    def take(self, notice: EndNotice) -> None:
        """Settle a notice. Called by workflows, in their threads."""
        if (backlog := self.backlogs.get(notice.target)) is not None:
            backlog.take(notice)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's own name
    ) -> type[WorkflowInboundInterceptor]:
        """The class that is instantiated for each run of a workflow. It is not sandboxed."""
        input.unsafe_extern_functions[EXTERN] = self.take

        class ReportingInbound(_ReportingInbound):
            settings = self

        return ReportingInbound


class _WatchingOutbound(WorkflowOutboundInterceptor):
    """Keeps the local activities that are not done."""

    def __init__(self, next_outbound: WorkflowOutboundInterceptor) -> None:
        super().__init__(next_outbound)
        self.local_activities: list[workflow.ActivityHandle[Any]] = []

    def start_local_activity(
        self,
        input: StartLocalActivityInput,  # noqa: A002
    ) -> workflow.ActivityHandle[Any]:
        handle = self.next.start_local_activity(input)
        running = [each for each in self.local_activities if not each.done()]
        self.local_activities[:] = [*running, handle]
        return handle


class _ReportingInbound(WorkflowInboundInterceptor):
    """One run of one workflow."""

    settings: MainPathInterceptor
    _outbound: _WatchingOutbound
    _reporter: Reporter | None = None

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Watch the local activities that the workflow starts."""
        self._outbound = _WatchingOutbound(outbound)
        super().init(self._outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        settings, info = self.settings, workflow.info()
        target = settings.targets.of_type(info.workflow_type, own_target(input.run_fn))
        reports = target is not None and settings.selects(info)
        after_close = info.workflow_type in settings.after_close
        status_of = own_status_of(input.run_fn) or settings.status_of
        reporter = self._reporter = Reporter(
            enabled=reports and not after_close and (settings.handlers or not has_handlers()),
            is_suspended=lambda: target in settings.suspended,
            failure_converter=settings.failure_converter,
            status_of=status_of,
            task_queue=settings.task_queue,
            target=target or ONLY,
            handlers=settings.handlers,
            local_activities=self._outbound.local_activities,
            payload_limit=settings.payload_limit,
            is_seen=settings.is_seen,
            is_intercepted=True,
        )
        notifier = Notifier(
            enabled=reports and after_close,
            is_suspended=lambda: target in settings.suspended,
            status_of=status_of,
            target=target or ONLY,
        )
        if is_decorated(input.run_fn):
            is_ours = reporter.enabled or notifier.enabled
            if not is_ours or not leave_to_plugin(workflow.instance()):
                give_target(workflow.instance(), target)
                return await self.next.execute_workflow(input)
        # A history with a report is replayed with it, whatever applies to new ends.
        return await reporter.run(notifier.run(self.next.execute_workflow(input)))

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        """Run the handler; once the end is settled, nothing that it raises counts.

        A signal handler can fail a workflow or continue it as new after its function has returned.
        Without the report the workflow would have been closed by then.
        """
        try:
            await self.next.handle_signal(input)
        except (Exception, workflow.ContinueAsNewError) as error:
            if not self._is_settled():
                raise
            log_late_signal(input.signal, error)
        except asyncio.CancelledError as error:
            # In a history of an earlier version this may have decided the end, and does so again.
            if not (self._is_settled() and may_intervene()):
                raise
            log_late_signal(input.signal, error)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:  # noqa: A002
        """Reject an update once the end is settled; this leaves no trace in the history."""
        if self._is_settled():
            raise update_rejection()
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002
        """Reject an update that has no validator.

        An update that started before the end was settled may fail, but not the workflow task.
        """
        if self._is_settled() and may_intervene():
            raise update_rejection()
        try:
            return await self.next.handle_update_handler(input)
        except (Exception, workflow.ContinueAsNewError) as error:
            if not self._is_settled() or workflow.is_failure_exception(error):
                raise
            raise ApplicationError(
                f"failed after this workflow had ended: {type(error).__name__}", type=ENDED
            ) from error

    def _is_settled(self) -> bool:
        return self._reporter is not None and self._reporter.is_settled
