"""Reporting the end of a workflow from within it: through an activity, at the very end.

Everything in here runs inside other people's workflows, so it must be deterministic, must not
change how a workflow ends, and must not hold it longer than `LONGEST_HOLD`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.converter import DefaultFailureConverter, FailureConverter
from temporalio.exceptions import FailureError

from reconciler.core.model import CloseStatus
from reconciler.core.text import LONGEST
from reconciler.worker.ending import Ending, ending_of_error, ending_of_result

#: The activity's name. Part of every history that has a report in it: never to be changed.
ACTIVITY = "update_workflow_execution_status"
#: Marks, in its history, that a workflow reports its end. Never to be changed either.
PATCH = "reconciler-main-path"

#: A workflow is held open this long at most if its row cannot be written: a database that is down
#: or hangs, a worker whose activity slots are all taken. The reconciler writes the row then.
LONGEST_HOLD = timedelta(seconds=20)
#: A workflow that may be held no longer than this, for its own timeouts, does not report.
SHORTEST_HOLD = timedelta(seconds=1)
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
    #: The end is settled and being written: nothing may change it any more.
    settled: bool = field(default=False, init=False)


async def run_and_report(run: Awaitable[_T], report: Report) -> _T:
    """Run a workflow's function, report how it ends, and let it end just so.

    A continue-as-new is a BaseException of its own and passes: the chain goes on.
    """
    try:
        result = await run
        ending = ending_of_result(result)
    except (Exception, asyncio.CancelledError) as error:
        await _report(ending_of_error(error, report.failure_converter), report)
        raise
    await _report(ending, report)
    return result


async def _report(ending: Ending | None, report: Report) -> None:
    try:
        hold = _longest_hold()
        if not _is_due(ending, hold, report):
            return
        report.settled = True
        write = _start_write(ending, hold, report.task_queue)
        while not write.done():
            await _wait(write)
        write.result()
    except Exception as error:  # noqa: BLE001 - nothing in here may change how the workflow ends
        workflow.logger.warning(
            "the end of this workflow could not be written into its row, "
            "the reconciler will do it: %s",
            error.cause if isinstance(error, FailureError) and error.cause else error,
        )


def _is_due(ending: Ending | None, hold: timedelta, report: Report) -> bool:
    # In replay neither what is configured nor the rules of this version decide: a history with a
    # report in it is replayed with its report, and one without stays without.
    if workflow.unsafe.is_replaying():
        return workflow.patched(PATCH)
    due = ending is not None and report.wanted and hold >= SHORTEST_HOLD
    return due and workflow.patched(PATCH)


def _longest_hold() -> timedelta:
    """How long the run may be held: half of what its own timeout leaves it, at most.

    The server sets a run's timeout to the execution timeout where only that is given. What is left
    of the execution timeout of a chain cannot be told in its later runs (server 1.32).
    """
    info = workflow.info()
    if not info.run_timeout:  # later runs and children have one of zero
        return LONGEST_HOLD
    return min(LONGEST_HOLD, (info.workflow_start_time + info.run_timeout - workflow.now()) / 2)


def _start_write(
    ending: Ending | None, hold: timedelta, task_queue: str | None
) -> workflow.ActivityHandle[object]:
    # None only in replay, where nothing of this is looked at but the activity's name.
    ending = ending or Ending(CloseStatus.FAILED)
    info = workflow.info()
    # Only where there is one: an activity of an older version takes no more than the others.
    decoded = [] if ending.decoded_message is None else [ending.decoded_message[:LONGEST_TEXT]]
    # No result type: what an activity of this name on another worker returns must not matter.
    return workflow.start_activity(
        ACTIVITY,
        args=[
            info.workflow_id,
            ending.status.value,
            None if ending.error_message is None else ending.error_message[:LONGEST_TEXT],
            info.first_execution_run_id,
            None,
            info.workflow_start_time,
            *decoded,
        ],
        task_queue=task_queue,
        start_to_close_timeout=ATTEMPT,
        schedule_to_close_timeout=max(hold, SHORTEST_HOLD),
        retry_policy=RETRIES,
        summary=f"end of the workflow: {ending.status.value}",
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
