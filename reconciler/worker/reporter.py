"""Reports the end of a workflow from within it, through an activity, as the very last step.

All of this runs inside other people's workflows: it must be deterministic, must not change how a
workflow ends, and must not hold it open longer than `LONGEST_HOLD`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.converter import DefaultFailureConverter, FailureConverter
from temporalio.exceptions import FailureError

from reconciler.core.model import CloseStatus
from reconciler.worker.ending import (
    PAYLOAD_LIMIT,
    chosen_status,
    end_report,
    end_with_error,
    end_with_result,
)
from reconciler.worker.late_messages import has_handlers, replace_handlers
from reconciler.worker.report import ACTIVITY, ONLY, EndReport
from reconciler.worker.snapshot import ErrorSnapshot, ResultSnapshot, is_serialisable

#: The patch that marks a history in which the workflow reported its end. Never change it.
PATCH = "reconciler-main-path"

#: The longest that a workflow is held open if its row cannot be written: the database is down or
#: hangs, or all activity slots of the worker are taken. Then the reconciler writes the row.
LONGEST_HOLD = timedelta(seconds=20)
#: A workflow whose own timeouts allow no longer hold than this does not report. Its close gets as
#: much time: the server has to end the report, and a busy worker has to take the task.
SHORTEST_HOLD = timedelta(seconds=5)
ATTEMPT = timedelta(seconds=8)
RETRIES = RetryPolicy(
    maximum_attempts=3, initial_interval=timedelta(seconds=1), backoff_coefficient=2
)

#: Returns the status for what a workflow returned: a value of the status column, or None to leave
#: the row. It runs in the workflow, so it must be deterministic.
StatusOf: TypeAlias = Callable[[Any], object]

#: What a function of others may raise in a workflow, also by using it as the workflow itself would.
RAISED = (Exception, asyncio.CancelledError, workflow.ContinueAsNewError)

_T = TypeVar("_T")


def check_status_of(given: object) -> None:
    """Raise `TypeError` if this cannot be a `StatusOf`."""
    if given is not None and not callable(given):
        raise TypeError(f"status_of= takes a function, not {type(given).__name__}")
    if iscoroutinefunction(given):
        raise TypeError("status_of= takes a function that is not async: it only looks at a result")


@dataclass(slots=True)
class Reporter:
    """Reports how one run of a workflow ends."""

    #: Whether this workflow reports. Applies to new ends; in replay, the history decides.
    enabled: bool = True
    #: The failure converter of the worker.
    failure_converter: type[FailureConverter] = DefaultFailureConverter
    #: Whether reports are known to be futile at this moment. Applies to new ends, like `enabled`.
    is_suspended: Callable[[], bool] = lambda: False
    #: Where the activity runs; None: on the workflow's own task queue.
    task_queue: str | None = None
    #: The target that the row is in.
    target: str = ONLY
    #: Whether it reports although it has signal or update handlers.
    handlers: bool = True
    #: The status for a result; None: the value for COMPLETED.
    status_of: StatusOf | None = None
    #: Local activities that the workflow has started. Without a report, closing the workflow drops
    #: them. While they run, the SDK keeps the workflow task and does not send the report.
    local_activities: Sequence[workflow.ActivityHandle[Any]] = ()
    #: Bytes of a result, a failure or a report that the server is sure to accept.
    payload_limit: int = PAYLOAD_LIMIT
    #: Whether an interceptor further out may look at what is returned or raised.
    is_seen: bool = True
    #: Whether an interceptor handles late signals and updates.
    is_intercepted: bool = False
    #: Whether the end is settled and being written: nothing may change it any more.
    is_settled: bool = field(default=False, init=False)

    async def run(self, running: Awaitable[_T]) -> _T:
        """Run a workflow's function, report how it ends, and let it end exactly so.

        Continue-as-new is a BaseException and passes through: the chain continues.
        """
        try:
            result = await running
        except (Exception, asyncio.CancelledError) as error:
            if self._may_report():
                await self._report_error(error)
            raise
        return await self._report_result(result) if self._may_report() else result

    def _may_report(self) -> bool:
        """Whether to look at the end at all.

        Decided before anything is serialised, which takes time and may exhaust the result (a
        generator). In replay neither the configuration nor the rules of this version count: a
        history with a report is replayed with its report, and one without stays without.
        """
        try:
            if workflow.unsafe.is_replaying():
                return workflow.patched(PATCH)
            if not self.enabled or self.is_suspended() or workflow.info().cron_schedule:
                return False
            if _longest_hold() < SHORTEST_HOLD:
                return False
            if any(not each.done() for each in self.local_activities):
                return False
            return self.handlers or not has_handlers()
        except Exception as error:  # noqa: BLE001 - nothing here may change how the workflow ends
            log_unwritten(error)
            return False

    async def _report_result(self, result: _T) -> _T:
        """Report a result, and return what has the payload that was checked."""
        try:
            snapshot = ResultSnapshot(result)
        except Exception as error:
            await self._report_error(error)
            # The SDK would raise it as well, unless an interceptor further out returns something
            # else, or it was raised by a generator that is exhausted now.
            if self.is_settled or not self.is_seen or is_serialisable(result):
                raise
            return result
        await self._report(lambda: self._end_with(result, snapshot))
        return cast("_T", snapshot.value(seen=self.is_seen))

    def _end_with(self, result: object, snapshot: ResultSnapshot) -> EndReport | None:
        report = end_with_result(snapshot, self.payload_limit)
        if report is None or self.status_of is None:
            return report
        value = chosen_status(self.status_of, result)
        return None if value is None else replace(report, value=value)

    async def _report_error(self, error: BaseException) -> None:
        """Report an error; raises what it was at that moment if it has changed since."""
        snapshot = ErrorSnapshot(error, self.failure_converter)
        await self._report(lambda: end_with_error(snapshot, self.payload_limit))
        try:
            other = snapshot.replacement(seen=self.is_seen)
        except Exception:  # noqa: BLE001 - other people's converter
            return
        if other is not None:
            raise other from error

    async def _report(self, find: Callable[[], EndReport | None]) -> None:
        report = None
        try:
            report = find()
        except RAISED as error:  # by other people's code; a replay still reports
            log_unwritten(error)
        if report is not None:
            report = replace(report, target=self.target or None)
        try:
            if not self._is_due(report):
                return
            self.is_settled = True
            if not self.is_intercepted:
                replace_handlers()
            write = _start_write(report or end_report(CloseStatus.FAILED), self.task_queue)
            while not write.done():
                await _wait(write)
            write.result()
        except Exception as error:  # noqa: BLE001 - nothing here may change how the workflow ends
            cause = error.cause if isinstance(error, FailureError) else None
            log_unwritten(cause or error)

    def _is_due(self, report: EndReport | None) -> bool:
        if workflow.unsafe.is_replaying():
            return True  # the history has a report, see `_may_report`
        if report is None or report.payload_size() > self.payload_limit:
            return False
        return workflow.patched(PATCH)


def log_unwritten(error: BaseException) -> None:
    """Log why the row of the current workflow is not written; not in a replay."""
    try:
        text = str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - the text itself may be what fails
        text = type(error).__name__
    workflow.logger.warning(
        "the end of this workflow could not be written to its row; the reconciler will do it: %s",
        text,
    )


def _longest_hold() -> timedelta:
    """How long the run may be held open: at most half of what its own timeout leaves.

    The server sets a run's timeout to the execution timeout if only that is given. Later runs of a
    chain cannot know how much of the execution timeout is left (SDK 1.35): they are not held.
    """
    info = workflow.info()
    if info.execution_timeout and info.run_id != info.first_execution_run_id:
        return timedelta()
    if not info.run_timeout:  # zero in later runs and in children
        return LONGEST_HOLD
    return min(LONGEST_HOLD, (info.workflow_start_time + info.run_timeout - workflow.now()) / 2)


def _start_write(report: EndReport, task_queue: str | None) -> workflow.ActivityHandle[object]:
    # No result type: an activity of this name on another worker may return anything.
    return workflow.start_activity(
        ACTIVITY,
        report.to_json(),
        task_queue=task_queue,
        start_to_close_timeout=ATTEMPT,
        schedule_to_close_timeout=max(_longest_hold(), SHORTEST_HOLD),
        retry_policy=RETRIES,
        summary=f"end of the workflow: {report.status}",
    )


async def _wait(write: workflow.ActivityHandle[object]) -> None:
    """Wait for the write, or for a cancellation of the workflow.

    The end is settled by now, so the cancellation is dropped. When the worker evicts the workflow,
    it cancels `write` as well.
    """
    try:
        await workflow.wait([write])
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
