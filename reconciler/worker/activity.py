"""The activity that writes the end of a workflow into its row.

Loads SQLAlchemy and the settings when it first runs, not before: this module is imported by
workflow modules too, inside the sandbox.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import ConfigurationError, DatabaseUnfit, ReconcilerError
from reconciler.core.text import one_line
from reconciler.worker.argument import Argument
from reconciler.worker.report import ACTIVITY
from reconciler.worker.types import OwnRow

if TYPE_CHECKING:
    from reconciler.worker.types import EngineSource
    from reconciler.worker.writer import RowWriter


class StatusActivity:
    """The activity, and the connection it keeps."""

    def __init__(self, engine: EngineSource | None = None) -> None:
        if engine is not None and not callable(engine) and not hasattr(engine, "sync_engine"):
            raise TypeError(
                f"engine= takes SQLAlchemy's AsyncEngine or a function that makes one, "
                f"not {type(engine).__name__}"
            )
        self._engine = engine
        # Connections belong to the event loop that opened them.
        self._writers: WeakKeyDictionary[AbstractEventLoop, RowWriter] = WeakKeyDictionary()

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
    ) -> bool:
        """Finish the row of a workflow, if it is still running; whether it was.

        A row that does not exist yet, or is not running any more, is no error: the answer is no.

        Args:
            workflow_id: Temporal's workflow id. Alone, it is the report of a workflow that the
                plugin or the decorator watches over, with all of the below in it.
            status: One of the end values of the status column, or a close status by Temporal's
                name, such as `TIMED_OUT`, which is mapped to the column's value.
            error_message: Becomes one line, and is cut to the configured limit.
            run_id: The first run of the chain, `workflow.info().first_execution_run_id`. Where it
                is not given, Temporal is asked for that of the calling workflow's chain.
            close_time: When the workflow ended; by default when this activity was scheduled.
                Without a time zone it is taken as UTC.
            start_time: When the first run of the chain started. A row without a run id that was
                made long after that is not its own. Where it is not given, or by a later run, which
                does not know it, Temporal is asked for it if no row has the run id.
            decoded_message: What to write instead of `error_message` where the settings say that
                encoded failures are to be decoded. It is sent by workflows that encode them.

        Raises:
            ApplicationError: With the reason in one line; not retryable where trying again is of
                no use: a status that does not exist, a table without the columns.
        """
        if status is None:
            said = _report(workflow_id)
        else:
            said = Argument(
                workflow_id, status, run_id, _text(start_time), error_message, decoded_message
            )
        return await self._finish(said, _time(close_time))

    async def _finish(self, said: Argument, close_time: datetime | None) -> bool:
        info = activity.info()
        try:
            writer = self._opened()
            end = (
                writer.status_value(said.status),
                writer.chosen(said.error_message, said.decoded_message),
                close_time or info.scheduled_time,
            )
            row = await _own_row(said)
            changed = await writer.finish(row, *end)
            if not changed and row.start_time is None:
                started = await _start_time(row)
                if started is not None:
                    changed = await writer.finish(replace(row, start_time=started), *end)
        except ReconcilerError as error:
            permanent = isinstance(error, ConfigurationError | DatabaseUnfit)
            raise ApplicationError(
                str(error), type=type(error).__name__, non_retryable=permanent
            ) from None
        if not changed:
            activity.logger.info("workflow %s has no row that is still running", said.workflow_id)
        return changed

    def _opened(self) -> RowWriter:
        loop = asyncio.get_running_loop()
        if loop not in self._writers:
            from reconciler.worker.writer import RowWriter  # noqa: PLC0415 - not before it is needed

            self._writers[loop] = RowWriter.open(self._engine)
        return self._writers[loop]

    async def close(self) -> None:
        """Give back what was opened on this event loop; the next run opens it again."""
        writer = self._writers.pop(asyncio.get_running_loop(), None)
        if writer is not None:
            await writer.close()


def status_activity(engine: EngineSource | None = None) -> Callable[..., Awaitable[bool]]:
    """The activity over the application's own engine, for a worker without the plugin.

        Worker(..., activities=[status_activity(engine)])

    The engine is used as it is and never closed. Without one, it is made from `DATABASE_URL`.
    """
    return StatusActivity(engine).update_workflow_execution_status


#: The activity over `DATABASE_URL`.
update_workflow_execution_status = StatusActivity().update_workflow_execution_status


def _report(text: str) -> Argument:
    try:
        return Argument.unpacked(text)
    except ValueError:
        raise ApplicationError(
            "status is missing: pass workflow_id and status", type="Incomplete", non_retryable=True
        ) from None


def _text(given: datetime | str | None) -> str | None:
    return given.isoformat() if isinstance(given, datetime) else given


def _time(given: datetime | str | None) -> datetime | None:
    """The time: the SDK knows types only where all arguments are given, else it leaves the text."""
    return datetime.fromisoformat(given) if isinstance(given, str) else given


async def _own_row(said: Argument) -> OwnRow:
    """What tells its row, as far as the calling workflow knows."""
    info = activity.info()
    own_run = info.workflow_run_id if info.workflow_id == said.workflow_id else None
    first_run = said.run_id or await _first_run_id(said.workflow_id, own_run)
    # A later run knows only when it has started itself.
    start_time = _time(said.start_time) if own_run in (None, first_run) else None
    return OwnRow(said.workflow_id, first_run, info.workflow_namespace, start_time)


async def _first_run_id(workflow_id: str, run_id: str | None) -> str:
    """The first run of this run's chain, or of the current one of the workflow id."""
    found = await _described(workflow_id, run_id or "")
    if found is None:
        raise ApplicationError(
            f"Temporal knows no workflow {one_line(workflow_id, 200)}: pass run_id",
            type="NotFound",
            non_retryable=True,
        )
    return found.first_run_id or found.execution.run_id


async def _start_time(row: OwnRow) -> datetime | None:
    """When the first run of a chain started; None if Temporal does not know it any more."""
    found = await _described(row.workflow_id, row.run_id)
    return None if found is None else found.start_time.ToDatetime(UTC)


async def _described(workflow_id: str, run_id: str) -> WorkflowExecutionInfo | None:
    request = DescribeWorkflowExecutionRequest(
        namespace=activity.info().namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
    )
    try:
        service = activity.client().workflow_service
        response = await service.describe_workflow_execution(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
    return response.workflow_execution_info
