"""What a workflow hands to its worker's process when its function ends. Leaves no trace in history.

It says that the run is about to close, not how: a notice is a reason to look, never evidence. It is
only given when the function ends for the first time, not in a replay, nor when the worker evicts
the workflow, which counts as one. It may be given more than once, since a workflow task may fail or
be refused, and then the function runs again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from temporalio import workflow

from reconciler.worker.ending import chosen_status, fails_the_task
from reconciler.worker.report import ONLY
from reconciler.worker.reporter import RAISED, StatusOf, log_unwritten

#: The name of the process's function among those that workflows can call.
EXTERN = "__reconciler_take_notice"


@dataclass(frozen=True, slots=True)
class EndNotice:
    """The function of a workflow's run has ended."""

    workflow_id: str
    run_id: str
    #: Of the chain.
    first_run_id: str
    #: When the first run of the chain started; None in a later run, which cannot know it.
    started_at: datetime | None
    #: Events in the run's history, up to the start of the workflow task in which it ended.
    events: int
    #: Whether `status_of` decides what a completed run's status is, and what it says: None leaves
    #: the row.
    is_graded: bool = False
    status: str | None = None
    #: The target that the row is in.
    target: str = ONLY


@dataclass(frozen=True, slots=True)
class Notifier:
    """Notifies the process of how one run of a workflow ends."""

    #: Whether this workflow does so.
    enabled: bool
    #: Whether the table is known not to fit.
    is_suspended: Callable[[], bool] = field(default=lambda: False)
    status_of: StatusOf | None = None
    #: The target that the row is in.
    target: str = ONLY

    async def run(self, running: Awaitable[Any]) -> Any:
        """Run a workflow's function, notify, and let it end exactly so."""
        try:
            result = await running
        except (Exception, asyncio.CancelledError) as error:
            if not fails_the_task(error):
                self._notify(lambda notice: notice)
            raise
        self._notify(lambda notice: self._graded(notice, result))
        return result

    def _notify(self, complete: Callable[[EndNotice], EndNotice]) -> None:
        try:
            if self._is_due():
                workflow.extern_functions()[EXTERN](complete(_notice(self.target)))
        except Exception as error:  # noqa: BLE001 - nothing here may change how the workflow ends
            log_unwritten(error)

    def _is_due(self) -> bool:
        if not self.enabled or self.is_suspended() or workflow.unsafe.is_replaying():
            return False
        return not workflow.info().cron_schedule  # the chain continues

    def _graded(self, notice: EndNotice, result: object) -> EndNotice:
        if self.status_of is None:
            return notice
        status = None
        try:
            status = chosen_status(self.status_of, result)
        except RAISED as error:  # by other people's code
            log_unwritten(error)
        return replace(notice, is_graded=True, status=status)


def _notice(target: str) -> EndNotice:
    info = workflow.info()
    is_first = info.run_id == info.first_execution_run_id
    return EndNotice(
        info.workflow_id,
        info.run_id,
        info.first_execution_run_id,
        info.workflow_start_time if is_first else None,
        info.get_current_history_length(),
        target=target,
    )
