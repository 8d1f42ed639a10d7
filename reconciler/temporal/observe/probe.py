"""From a row to an observation: what Temporal says about the chain of runs that the row stands for.

Never from the first run alone: after a retry, a cron tick, a continue-as-new or a reset it is
closed while its chain continues. Never from the workflow id alone: it leads to the current run,
which may be another use of the id. Hence: ask by id, and require the chain to be the row's own
(measured: 24 of 24 cases right on server 1.32).

```
current = Describe(workflow_id)                            one call for an open or completed row
a workflow or run that was not asked for, or an impossible close time          → Unknown
it is the row's own  ⇔  row.run_id in (current.first_run_id, current.run_id)
    RUNNING, PAUSED, any unknown status                    → Open
    CONTINUED_AS_NEW, or no close time                     → Unknown; the next pass asks again
    else Closed; if not COMPLETED, the text comes from the close event, decoded if possible. A
         close event that contradicts the status           → Unknown
row without run id → as above, whichever chain it is, and how that began: `core.own_use` decides
    whether it is the row's own
without first_run_id (servers before 1.25): never Missing while the id is in use; Unknown where only
    first_run_id could decide whose end it is
not the row's own, or not found → the row's own chain: Describe(workflow_id, run), then its
    reset_run_id or the close event's new_execution_run_id, to the last run, at most 50
```
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse as Description

from reconciler.core.model import (
    ChainStart,
    Closed,
    CloseStatus,
    Missing,
    Observation,
    RunRow,
    Unknown,
)
from reconciler.core.own_use import CLOCK_SKEW
from reconciler.temporal.client.error_codes import NotFound, RowError
from reconciler.temporal.client.execution_info import (
    close_status,
    is_continued,
    is_open,
    to_datetime,
)
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.observe.archive import archived_end
from reconciler.temporal.observe.history import next_run, why_closed
from reconciler.temporal.observe.visibility import Visibility
from reconciler.temporal.stuck.evidence import still_open

#: Runs of a chain to walk when its workflow id does not lead to the last, at two calls each (more
#: for an archived one).
MAX_HOPS = 50

_T = TypeVar("_T")
_ID_IN_USE = Missing("run not found, id in use", id_in_use=True)


class FirstRunGone(RowError):
    """The first run of a chain is past its retention."""


class TemporalProbe:
    """Observes the rows of one namespace. Safe to share between concurrent observations."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        ask_archive: bool = False,
        decoder: FailureDecoder | None = None,
        visibility: Visibility | None = None,
    ) -> None:
        """`visibility`: shared with the probes of other namespaces.

        `ask_archive`: whether to read the namespace's history archive, if it has one, for runs that
        Temporal does not know. For a backfill and `explain`: a loop would read the same hopeless
        rows from the blob store in every pass.
        """
        self.rpc = rpc
        self._ask_archive = ask_archive
        self._decoder = decoder
        self._visibility = visibility or Visibility()
        #: As last described; None before.
        self.namespace: Namespace | None = None

    async def retention(self) -> timedelta:
        """The namespace's retention as it is now. Raises `TemporalUnusable`."""
        self.namespace = await self.rpc.describe_namespace()
        return self.namespace.retention

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row; one call if its workflow is open or completed.

        Raises `TemporalUnusable` if the problem is not this row's.
        """
        return await as_observation(self._observe_row(row))

    async def observe_current(self, workflow_id: str) -> Observation:
        """What Temporal says about the current run of a workflow id, whichever chain it is of."""
        return await as_observation(self._observe_current(workflow_id))

    async def _observe_current(self, workflow_id: str) -> Observation:
        return await self.observe_last(await self.rpc.describe(workflow_id))

    async def _observe_row(self, row: RunRow) -> Observation:
        try:
            current = await self.rpc.describe(row.workflow_id)
        except NotFound:
            if not row.run_id:
                raise
            # The current run can be deleted while older runs of the id still exist.
            return await self._walk_chain(row.workflow_id, row.run_id, current=None)
        info = current.workflow_execution_info
        if not row.run_id:  # an empty one would be answered with the current run
            return await self._observe_use(row, current)
        # Servers before 1.32 return the current run's id if a start meets an open chain.
        own = info.first_run_id, info.execution.run_id
        if row.run_id in own or row.run_id.lower() in own:
            if is_open(info):
                self._visibility.remember_open(row, info)
            return await self.observe_last(current)
        try:
            walking = self._walk_chain(row.workflow_id, row.run_id, current)
            return _beside_current(await walking, info)
        except NotFound:
            # Servers before 1.32 may have returned a run from the middle of a chain. Once that run
            # is past its retention, the chain can still be the current one, and open. Servers
            # before 1.25 do not say where the current chain began.
            if not info.first_run_id or row.created_at is None:
                return _ID_IN_USE
            after = await self._chain_start(info) - row.created_at > CLOCK_SKEW
            return Missing() if after else _ID_IN_USE

    async def observe_last(self, run: Description) -> Observation:
        """The observation of a chain whose last run this is. Raises `RowError`."""
        info = run.workflow_execution_info
        if is_continued(info):
            return Unknown("between two runs of a chain")
        status = close_status(info)
        if status is None:
            return still_open(self.rpc.namespace, run)
        close_time = to_datetime(info.close_time, "close time")
        run_id, failure = info.execution.run_id, None
        if status is not CloseStatus.COMPLETED:
            failure = await why_closed(self.rpc, info, status, self._decoder)
        return Closed(status, close_time, run_id, failure, workflow_type=info.type.name)

    async def _observe_use(self, row: RunRow, current: Description) -> Observation:
        """The current use of the workflow id, for a row without a run id: it may be its own."""
        if row.created_at is None:
            return Unknown("the row has neither a run id nor a creation time")
        observation = await self.observe_last(current)
        if not isinstance(observation, Closed):
            return observation
        info = current.workflow_execution_info
        if not info.first_run_id:
            return Unknown("the row has no run id, and the server does not say where chains begin")
        try:
            started = await self._chain_start(info)
        except FirstRunGone:
            started = None
        return replace(observation, start=ChainStart(info.first_run_id, started))

    async def _chain_start(self, info: WorkflowExecutionInfo) -> datetime:
        if info.first_run_id not in ("", info.execution.run_id):
            try:
                first = await self.rpc.describe(info.execution.workflow_id, info.first_run_id)
            except NotFound as error:
                raise FirstRunGone("the first run of the current chain is gone") from error
            info = first.workflow_execution_info
        return to_datetime(info.start_time, "start time")

    async def _walk_chain(
        self, workflow_id: str, run_id: str, current: Description | None
    ) -> Observation:
        """Walk the row's own chain, to which the workflow id does not lead, to its last run.

        Each run expires by itself, with a jitter: archived runs may precede and follow those that
        Temporal still knows.
        """
        for _ in range(MAX_HOPS):
            try:
                reached = await self._step(workflow_id, run_id, current)
            except NotFound:
                if not await self._may_ask_archive():
                    raise
                reached = await archived_end(self.rpc, workflow_id, run_id, self._decoder)
            if isinstance(reached, Closed) and current and _may_continue(run_id, current):
                return Unknown("the server does not say which chain the id's current run is of")
            if not isinstance(reached, str):
                return reached
            run_id = reached
        return Unknown(f"the chain is longer than {MAX_HOPS} runs")

    async def _step(
        self, workflow_id: str, run_id: str, current: Description | None
    ) -> Observation | str:
        """The observation of the chain if this run is its last, else the id of the next run."""
        run = await self.rpc.describe(workflow_id, run_id)
        info = run.workflow_execution_info
        of_current = current and current.workflow_execution_info.first_run_id
        if current and info.first_run_id and info.first_run_id == of_current:
            return await self.observe_last(current)  # the row has a run from the chain's middle
        if is_open(info):
            return still_open(self.rpc.namespace, run)
        return await next_run(self.rpc, run) or await self.observe_last(run)

    async def _may_ask_archive(self) -> bool:
        if not self._ask_archive:
            return False
        if self.namespace is None:  # outside of a pass it may not have been described
            self.namespace = await self.rpc.describe_namespace()
        return self.namespace.archives_history


async def as_observation(observing: Awaitable[_T]) -> _T | Missing | Unknown:
    """The observation, or what an error about this row means for it."""
    try:
        return await observing
    except NotFound:
        return Missing()
    except RowError as error:
        return Unknown(str(error))


def _beside_current(observation: Observation, current: WorkflowExecutionInfo) -> Observation:
    """The observation of a chain, which the id's current run may have nothing to do with."""
    if isinstance(observation, Closed) and observation.run_id != current.execution.run_id:
        return replace(observation, id_in_use=True)
    return observation


def _may_continue(run_id: str, current: Description) -> bool:
    """Whether the chain of a closed run may continue as the id's current run.

    If a run was reset after its end, its description shows it since server 1.28, and the first run
    id of the new run since 1.25; before, nothing does.
    """
    info = current.workflow_execution_info
    return not info.first_run_id and info.execution.run_id.lower() != run_id.lower()
