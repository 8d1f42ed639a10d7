"""The activity that writes the end of a workflow to its row.

Imports SQLAlchemy and the settings when the plugin is made or the activity first runs, not before:
workflow modules import this module too, inside the sandbox.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from reconciler.core.errors import ConfigurationError, DatabaseUnfit, ReconcilerError
from reconciler.core.text import one_line
from reconciler.temporal.client.error_codes import is_unreachable
from reconciler.worker.report import ACTIVITY, ONLY, EndReport

if TYPE_CHECKING:
    from reconciler.worker.after_close.backlog import Backlog
    from reconciler.worker.database.opened import Opened
    from reconciler.worker.database.sources import EngineSources, GivenSettings, Sources
    from reconciler.worker.database.writer import RowWriter


class StatusActivity:
    """The activity and its connections."""

    def __init__(
        self, engine: EngineSources | None = None, settings: GivenSettings | None = None
    ) -> None:
        is_mapping = isinstance(engine, Mapping)
        if engine is not None:
            for each in engine.values() if isinstance(engine, Mapping) else [engine]:
                _check_engine(each)
        self._engine, self._settings = engine, settings
        self._sources: Sources | None = None
        # Connections belong to the event loop that opened them.
        self._opened: WeakKeyDictionary[AbstractEventLoop, Opened] = WeakKeyDictionary()
        if (is_mapping or settings is not None) and not workflow.unsafe.in_sandbox():
            self.sources()  # what is wrong with these is an error where they are given

    @activity.defn(name=ACTIVITY)
    async def update_workflow_execution_status(
        self,
        workflow_id: str,
        status: str | None = None,
        error_message: str | None = None,
        run_id: str | None = None,
        close_time: datetime | None = None,
        start_time: datetime | None = None,
        decoded_message: str | None = None,
        target: str | None = None,
    ) -> bool:
        """Finish the row of a workflow if it is still running; return whether it was.

        A row that does not exist yet, or is no longer running, is not an error: it returns False.

        Args:
            workflow_id: Temporal's workflow id. If it is the only argument, it is a report by the
                plugin or the decorator, which contains all of the below.
            status: One of the end values of the status column, or Temporal's name for a close
                status, such as `TIMED_OUT`, which is mapped to the column's value.
            error_message: Written as one line, cut to the configured limit.
            run_id: The first run of the chain, `workflow.info().first_execution_run_id`. By default
                the activity asks Temporal for the first run of the calling workflow's chain.
            close_time: When the workflow ended; by default when this activity was scheduled. A row
                without a run id that was created later belongs to another workflow. Without a time
                zone it is UTC.
            start_time: When the first run of the chain started, which decides between several rows
                without a run id. If it is not given, or given by a later run, which cannot know it,
                and no row has the run id, the activity asks Temporal for it.
            decoded_message: What to write instead of `error_message` if the settings say that
                encoded failures are decoded. Sent by workflows that encode their failures.
            target: Which of several targets the row is in.

        Raises:
            ApplicationError: With the reason in one line; not retryable if a retry cannot succeed:
                an unknown status or target, a table without the columns.
        """
        if status is None:
            report = _parse(workflow_id)
        else:
            start = _time(start_time)
            texts = error_message, decoded_message
            report = EndReport(workflow_id, status, run_id, start, *texts, target=target)
        return await self._finish(report, _time(close_time))

    async def _finish(self, report: EndReport, close_time: datetime | None) -> bool:
        info = activity.info()
        where_and_when = info.workflow_namespace, close_time or info.scheduled_time
        try:
            writer = self.opened(report.target or ONLY)
            report = await _with_first_run(report)
            changed = await writer.finish(report, *where_and_when)
            if not changed and report.start_time is None:
                first_run = await _describe(report.workflow_id, report.run_id)
                if first_run is not None:
                    report = replace(report, start_time=first_run.start_time.ToDatetime(UTC))
                    changed = await writer.finish(report, *where_and_when)
        except ReconcilerError as error:
            permanent = isinstance(error, ConfigurationError | DatabaseUnfit)
            raise ApplicationError(
                str(error), type=type(error).__name__, non_retryable=permanent
            ) from None
        if not changed:
            activity.logger.info("workflow %s has no running row", report.workflow_id)
        return changed

    def sources(self) -> Sources:
        """Where the rows are, for each target. Raises `TypeError`, `ConfigurationError`."""
        if self._sources is None:
            from reconciler.worker.database.sources import Sources  # noqa: PLC0415 - not before it is needed

            self._sources = Sources(self._engine, self._settings)
        return self._sources

    def opened(self, target: str = ONLY) -> RowWriter:
        """The writer of a target in this event loop. Raises `ConfigurationError`."""
        loop = asyncio.get_running_loop()
        if loop not in self._opened:
            from reconciler.worker.database.opened import Opened  # noqa: PLC0415 - as above

            self._opened[loop] = Opened(self.sources())
        return self._opened[loop].writer(target)

    def backlogs(self, worker: Worker, targets: Iterable[str]) -> Mapping[str, Backlog]:
        """What writes the ends of this worker's workflows after their close, for each target."""
        from reconciler.worker.after_close.backlog import open_backlogs  # noqa: PLC0415 - as above

        return open_backlogs(lambda: worker.client, self.sources(), self.opened, targets)

    async def close(self) -> None:
        """Close what was opened on this event loop; the next run opens it again."""
        opened = self._opened.pop(asyncio.get_running_loop(), None)
        if opened is not None:
            await opened.close()


def status_activity(
    engine: EngineSources | None = None, *, settings: GivenSettings | None = None
) -> Callable[..., Awaitable[bool]]:
    """The activity over the application's own engine, for a worker without the plugin.

        Worker(..., activities=[status_activity(engine)])

    The engine is never closed. By default the activity opens one for `DATABASE_URL`. `settings`:
    made in code, in place of those in files and the environment. Both can be mappings by target,
    see `ReconcilerPlugin`.
    """
    return StatusActivity(engine, settings).update_workflow_execution_status


#: The activity over `DATABASE_URL`.
update_workflow_execution_status = StatusActivity().update_workflow_execution_status


def _check_engine(engine: object) -> None:
    if callable(engine):
        return
    sync = getattr(engine, "sync_engine", None)
    if sync is None:
        raise TypeError(
            f"engine= takes SQLAlchemy's AsyncEngine or a function that makes one, "
            f"or a mapping of names of targets to them, not {type(engine).__name__}"
        )
    if sync.dialect.name != "postgresql":
        raise TypeError(f"engine= takes an engine for PostgreSQL, not for {sync.dialect.name}")


def _parse(text: str) -> EndReport:
    try:
        return EndReport.from_json(text)
    except ValueError:
        raise ApplicationError(
            "status is missing: pass workflow_id and status", type="Incomplete", non_retryable=True
        ) from None


def _time(given: datetime | str | None) -> datetime | None:
    """The SDK converts times only if all arguments are given; otherwise it passes strings."""
    return datetime.fromisoformat(given) if isinstance(given, str) else given


async def _with_first_run(report: EndReport) -> EndReport:
    """The report with the first run of the chain, and its start as far as the caller knows it."""
    info = activity.info()
    own_run = info.workflow_run_id if info.workflow_id == report.workflow_id else None
    first_run = report.run_id
    if not first_run:
        found = await _describe(report.workflow_id, own_run)
        if found is None:
            raise ApplicationError(
                f"Temporal knows no workflow {one_line(report.workflow_id, 200)}: pass run_id",
                type="NotFound",
                non_retryable=True,
            )
        first_run = found.first_run_id or found.execution.run_id
    # A later run only knows its own start.
    start_time = report.start_time if own_run in (None, first_run) else None
    return replace(report, run_id=first_run, start_time=start_time)


async def _describe(workflow_id: str, run_id: str | None) -> WorkflowExecutionInfo | None:
    """Describe a run, by default the current one; None if Temporal does not know it."""
    request = DescribeWorkflowExecutionRequest(
        namespace=activity.client().namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id or ""),
    )
    service = activity.client().workflow_service
    try:
        try:
            response = await service.describe_workflow_execution(request)
        except RPCError as error:
            if not is_unreachable(error):
                raise
            # The server closes each connection every few minutes: one failure means little.
            response = await service.describe_workflow_execution(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
    return response.workflow_execution_info
