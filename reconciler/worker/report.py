"""Reporting the end of a workflow from within it: through an activity, at the very end.

Everything in here runs inside other people's workflows, so it must be deterministic, must not
change how a workflow ends, and must not hold it longer than `LONGEST_HOLD`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.converter import DefaultFailureConverter, FailureConverter
from temporalio.exceptions import FailureError

from reconciler.worker.ending import Ending, ending_of_error, ending_of_result

#: The activity's name. Part of every history that has a report in it: never to be changed.
ACTIVITY = "update_workflow_execution_status"
#: Marks, in its history, that a workflow reports its end. Never to be changed either.
PATCH = "reconciler-main-path"

#: A workflow is held open this long at most if its row cannot be written: a database that is down
#: or hangs, an activity queue that is full. The reconciler writes the row then.
LONGEST_HOLD = timedelta(seconds=20)
ATTEMPT = timedelta(seconds=5)
RETRIES = RetryPolicy(
    maximum_attempts=3, initial_interval=timedelta(seconds=1), backoff_coefficient=2
)
#: Characters of a failure that travel to the activity, which cuts to the configured limit: enough
#: for the same text as the reconciler's, too few to meet the server's limit of two megabytes.
LONGEST_TEXT = 100_000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reporting:
    """How a workflow reports its end."""

    #: Whether this workflow is to report. Decides about new ends; in replay, history does.
    wanted: bool = True
    #: The failure converter of the worker.
    failure_converter: type[FailureConverter] = DefaultFailureConverter
    #: Where the activity runs; None: on the workflow's own task queue.
    task_queue: str | None = None


async def run_and_report(run: Awaitable[_T], reporting: Reporting) -> _T:
    """Run a workflow's function, report how it ends, and let it end just so.

    A continue-as-new is a BaseException of its own and passes: the chain goes on.
    """
    try:
        result = await run
        ending = ending_of_result(result)
    except (Exception, asyncio.CancelledError) as error:
        await _report(ending_of_error(error, reporting.failure_converter), reporting)
        raise
    await _report(ending, reporting)
    return result


async def _report(ending: Ending | None, reporting: Reporting) -> None:
    if ending is None or not _is_due(reporting):
        return
    try:
        write = _start_write(ending, reporting.task_queue)
        while not write.done():
            await _wait(write)
        write.result()
    except Exception as error:  # noqa: BLE001 - nothing in here may change how the workflow ends
        workflow.logger.warning(
            "the end of this workflow could not be written into its row, "
            "the reconciler will do it: %s",
            error.cause if isinstance(error, FailureError) and error.cause else error,
        )


def _is_due(reporting: Reporting) -> bool:
    # What is configured must not decide in replay: a history with a report in it is replayed with
    # its report, and one without stays without, whatever the plugin is told today.
    wanted = reporting.wanted or workflow.unsafe.is_replaying()
    return wanted and workflow.patched(PATCH)


def _start_write(ending: Ending, task_queue: str | None) -> workflow.ActivityHandle[bool]:
    info = workflow.info()
    text = ending.error_message
    return workflow.start_activity(
        ACTIVITY,
        args=[
            info.workflow_id,
            ending.status.value,
            None if text is None else text[:LONGEST_TEXT],
            info.first_execution_run_id,
        ],
        task_queue=task_queue,
        start_to_close_timeout=ATTEMPT,
        schedule_to_close_timeout=LONGEST_HOLD,
        retry_policy=RETRIES,
        result_type=bool,
        summary=f"end of the workflow: {ending.status.value}",
    )


async def _wait(write: workflow.ActivityHandle[bool]) -> None:
    """Wait for the write, or for a cancellation of the workflow, which does not concern it.

    How the workflow ends is settled by now. When the worker evicts the workflow, it cancels
    `write` as well.
    """
    try:
        await workflow.wait([write])
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
