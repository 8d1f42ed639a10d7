"""Reporting the end of a workflow from within it: through an activity, at the very end.

Everything in here runs inside other people's workflows, so it must be deterministic, must not
change how a workflow ends, and must not hold it longer than `LONGEST_HOLD`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.converter import DefaultFailureConverter, FailureConverter
from temporalio.exceptions import FailureError

from reconciler.core.model import CloseStatus
from reconciler.core.text import LONGEST
from reconciler.worker.argument import Argument
from reconciler.worker.ending import LARGEST, Ending, ending_of_error, ending_of_result
from reconciler.worker.kept import KeptError, KeptResult, is_serialisable
from reconciler.worker.seal import has_handlers, seal_by_hand

#: The activity's name. Part of every history that has a report in it: never to be changed.
ACTIVITY = "update_workflow_execution_status"
#: Marks, in its history, that a workflow reports its end. Never to be changed either.
PATCH = "reconciler-main-path"

#: A workflow is held open this long at most if its row cannot be written: a database that is down
#: or hangs, a worker whose activity slots are all taken. The reconciler writes the row then.
LONGEST_HOLD = timedelta(seconds=20)
#: A workflow that may be held no longer than this, for its own timeouts, does not report. As much
#: time is left for its close: the server has to end the report, and a busy worker to take the task.
SHORTEST_HOLD = timedelta(seconds=5)
ATTEMPT = timedelta(seconds=8)
RETRIES = RetryPolicy(
    maximum_attempts=3, initial_interval=timedelta(seconds=1), backoff_coefficient=2
)
#: Characters of a failure that travel to the activity, which cuts to the configured limit: enough
#: for the same text as the reconciler's, too few to meet the server's limit of two megabytes.
LONGEST_TEXT = LONGEST

_T = TypeVar("_T")


@dataclass(slots=True)
class Report:
    """How one run of a workflow reports its end, and whether it has come to that."""

    #: Whether this workflow is to report. Decides about new ends; in replay, history does.
    wanted: bool = True
    #: The failure converter of the worker.
    failure_converter: type[FailureConverter] = DefaultFailureConverter
    #: Where the activity runs; None: on the workflow's own task queue.
    task_queue: str | None = None
    #: Whether it reports although it takes signals or updates.
    handlers: bool = True
    #: Local activities that the workflow has started. Without a report its close cuts them off; as
    #: long as they run, the SDK sends no report, but keeps the workflow task.
    local_activities: Sequence[workflow.ActivityHandle[Any]] = ()
    #: Bytes of a result, a failure or a report that the server surely takes.
    largest: int = LARGEST
    #: Whether an interceptor further out may look at what is returned or raised.
    is_seen: bool = True
    #: Whether an interceptor watches over signals and updates once the end is settled.
    guarded: bool = False
    #: The end is settled and being written: nothing may change it any more.
    settled: bool = field(default=False, init=False)


async def run_and_report(run: Awaitable[_T], report: Report) -> _T:
    """Run a workflow's function, report how it ends, and let it end just so.

    A continue-as-new is a BaseException of its own and passes: the chain goes on.
    """
    try:
        result = await run
    except (Exception, asyncio.CancelledError) as error:
        if _may_report(report):
            await _report_error(error, report)
        raise
    return await _report_result(result, report) if _may_report(report) else result


def _may_report(report: Report) -> bool:
    """Whether to look at the end at all.

    Decided before anything is serialised, which may use up what is returned (a generator) and takes
    time. In replay neither what is configured nor the rules of this version decide: a history with
    a report in it is replayed with its report, and one without stays without.
    """
    try:
        if workflow.unsafe.is_replaying():
            return workflow.patched(PATCH)
        if not report.wanted or workflow.info().cron_schedule or _longest_hold() < SHORTEST_HOLD:
            return False
        if any(not each.done() for each in report.local_activities):
            return False
        return report.handlers or not has_handlers()
    except Exception as error:  # noqa: BLE001 - nothing in here may change how the workflow ends
        _log_unwritten(error)
        return False


async def _report_result(result: _T, report: Report) -> _T:
    """Report that this was returned; what to return, which has the payload that was checked."""
    try:
        kept = KeptResult(result)
    except Exception as error:
        await _report_error(error, report)
        # The SDK is about to meet it too, unless an interceptor further out returns something else;
        # or a generator has raised it, which is now at its end.
        if report.settled or not report.is_seen or is_serialisable(result):
            raise
        return result
    await _report(lambda: ending_of_result(kept, report.largest), report)
    return cast("_T", kept.value(seen=report.is_seen))


async def _report_error(error: BaseException, report: Report) -> None:
    """Report that this was raised; raises what it was by then, should it have changed."""
    kept = KeptError(error, report.failure_converter)
    await _report(lambda: ending_of_error(kept, report.largest), report)
    if (other := _replacement(kept, report)) is not None:
        raise other from error


def _replacement(kept: KeptError, report: Report) -> BaseException | None:
    try:
        return kept.replacement(seen=report.is_seen)
    except Exception:  # noqa: BLE001 - other people's converter
        return None


async def _report(find: Callable[[], Ending | None], report: Report) -> None:
    ending = _found(find)
    try:
        argument = _argument(ending or Ending(CloseStatus.FAILED))
        if not _is_due(ending, argument, report):
            return
        report.settled = True
        if not report.guarded:
            seal_by_hand()
        write = _start_write(argument, report.task_queue)
        while not write.done():
            await _wait(write)
        write.result()
    except Exception as error:  # noqa: BLE001 - nothing in here may change how the workflow ends
        _log_unwritten(error.cause if isinstance(error, FailureError) and error.cause else error)


def _found(find: Callable[[], Ending | None]) -> Ending | None:
    # Apart: in replay the report follows although the end cannot be found this time.
    try:
        return find()
    except Exception as error:  # noqa: BLE001 - the error's own text, or other people's converter
        _log_unwritten(error)
        return None


def _log_unwritten(error: BaseException) -> None:
    # By its type if its own text is what fails.
    try:
        text = str(error) or type(error).__name__
    except Exception:  # noqa: BLE001
        text = type(error).__name__
    workflow.logger.warning(
        "the end of this workflow could not be written into its row, the reconciler will do it: %s",
        text,
    )


def _is_due(ending: Ending | None, argument: Argument, report: Report) -> bool:
    if workflow.unsafe.is_replaying():
        return True  # it has the report, see `_may_report`
    if ending is None or argument.size() > report.largest:
        return False
    return workflow.patched(PATCH)


def _longest_hold() -> timedelta:
    """How long the run may be held: half of what its own timeout leaves it, at most.

    The server sets a run's timeout to the execution timeout where only that is given. What is left
    of the execution timeout of a chain cannot be told in its later runs (SDK 1.35): no time at all.
    """
    info = workflow.info()
    if info.execution_timeout and info.run_id != info.first_execution_run_id:
        return timedelta()
    if not info.run_timeout:  # later runs and children have one of zero
        return LONGEST_HOLD
    return min(LONGEST_HOLD, (info.workflow_start_time + info.run_timeout - workflow.now()) / 2)


def _argument(ending: Ending) -> Argument:
    info = workflow.info()
    return Argument(
        info.workflow_id,
        ending.status.value,
        info.first_execution_run_id,
        info.workflow_start_time.isoformat(),
        ending.error_message and ending.error_message[:LONGEST_TEXT],
        ending.decoded_message and ending.decoded_message[:LONGEST_TEXT],
    )


def _start_write(argument: Argument, task_queue: str | None) -> workflow.ActivityHandle[object]:
    # No result type: what an activity of this name on another worker returns must not matter.
    return workflow.start_activity(
        ACTIVITY,
        argument.packed(),
        task_queue=task_queue,
        start_to_close_timeout=ATTEMPT,
        schedule_to_close_timeout=max(_longest_hold(), SHORTEST_HOLD),
        retry_policy=RETRIES,
        summary=f"end of the workflow: {argument.status}",
    )


async def _wait(write: workflow.ActivityHandle[object]) -> None:
    """Wait for the write, or for a cancellation of the workflow, which does not concern it.

    How the workflow ends is settled by now. When the worker evicts the workflow, it cancels
    `write` as well.
    """
    try:
        await workflow.wait([write])
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
