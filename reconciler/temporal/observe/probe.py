"""From a row to an observation: what Temporal says about the chain of runs the row stands for.

Never from the first run alone: after a retry, a cron tick, a continue-as-new or a reset it is
closed while its chain goes on. Never from the workflow id alone either: it answers with the
current run, which may be another use of the id. Hence: ask by id, and require the chain to be
the row's own (measured: 24 of 24 cases right on server 1.32).

```
current = Describe(workflow_id)                            one call for an open or completed row
another workflow or run than was asked for, or an impossible close time        → Unknown
it is the row's own  ⇔  row.run_id in (current.first_run_id, current.run_id)
    RUNNING, PAUSED, any status we do not know             → Open
    CONTINUED_AS_NEW, or no close time                     → Unknown, seen again in the next pass
    else Closed; if not COMPLETED, the text comes from the close event, decoded if it can be. A
         close event that contradicts the status           → Unknown
row without run id → its own only if the chain started from 2 s before to GRACE after the row was
    created; else Missing, id in use. If it has ended, visibility must know no other use of the id
    in that time, or                                       → Unknown
without first_run_id (servers before 1.25): never Missing while the id is in use; Unknown where only
    it could tell whose end it is
not the row's own, or not found → the row's own chain: Describe(workflow_id, run), then its
    reset_run_id or the close event's new_execution_run_id, to the last run, at most 50
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from reconciler.core.model import (
    ChainStart,
    Closed,
    CloseStatus,
    Missing,
    Observation,
    Open,
    RunRow,
    Unknown,
)
from reconciler.temporal.client.error_codes import NotFound, RowError
from reconciler.temporal.client.execution_info import (
    close_status,
    is_continued,
    is_open,
    status_name,
    to_datetime,
)
from reconciler.temporal.client.namespace import Namespace, describe_namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.observe.archive import archived_end
from reconciler.temporal.observe.history import following_run, why_closed
from reconciler.temporal.observe.visibility import CLOCK_SKEW, MAX_IDS, Visibility, starts_between

#: Runs of a chain that are followed, at two calls each (and more for an archived one), when its
#: workflow id does not lead to the last.
MAX_HOPS = 50


class TemporalProbe:
    """Answers `Probe.observe` with raw calls. Safe to share between concurrent observations."""

    def __init__(
        self,
        rpc: Rpc,
        start_delay: timedelta,
        *,
        ask_archive: bool = False,
        decoder: FailureDecoder | None = None,
        visibility: Visibility | None = None,
    ) -> None:
        """`start_delay`: how long after a row was created its workflow may start.

        Only used for rows without a run id, where nothing else tells one use of an id from
        another.

        `ask_archive`: whether the namespace's history archive, if it has one, is asked about runs
        that Temporal does not know. For a backfill and `explain`: a loop would read the same
        hopeless rows from the blob store in every pass.

        `decoder`: how failures that are encoded are put in clear; by default they are not.

        `visibility`: what is shared with the probes of other namespaces.
        """
        self._rpc = rpc
        self._start_delay = start_delay
        self._ask_archive = ask_archive
        self._decoder = decoder
        self._visibility = visibility or Visibility(start_delay)
        #: As it was described last; None before.
        self.namespace: Namespace | None = None

    async def retention(self) -> timedelta:
        """The namespace's retention as it is now. Raises `TemporalUnusable`."""
        self.namespace = await describe_namespace(self._rpc)
        return self.namespace.retention

    async def screen(
        self, rows: Sequence[RunRow], page_size: int = MAX_IDS
    ) -> Sequence[bool | None]:
        """Whether visibility shows each row's workflow as open; None where it cannot tell.

        `page_size`: how many rows are asked about at the same time, in all namespaces.
        Raises `TemporalUnusable` if the whole server is overloaded.
        """
        return await self._visibility.screen(self._rpc, rows, page_size)

    def rpcs(self) -> Mapping[str, int]:
        """The calls made so far, by kind."""
        return self._rpc.counts

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row; one call where its workflow is open or completed.

        Raises `TemporalUnusable` if it is not about this row.
        """
        try:
            return await self._resolve(row)
        except NotFound:
            return Missing()
        except RowError as error:
            return Unknown(str(error))

    async def observe_current(self, workflow_id: str) -> Observation:
        """What Temporal says about the current run of a workflow id, whoever's it is."""
        try:
            current = await self._rpc.describe(workflow_id)
            return await self._head(current.workflow_execution_info)
        except NotFound:
            return Missing()
        except RowError as error:
            return Unknown(str(error))

    async def _resolve(self, row: RunRow) -> Observation:
        try:
            current = await self._rpc.describe(row.workflow_id)
        except NotFound:
            if not row.run_id:
                raise
            # The current run can be deleted while older runs of the id are still there.
            return await self._follow(row.workflow_id, row.run_id, current=None)
        info = current.workflow_execution_info
        if not row.run_id:  # an empty one would be answered with the current run
            return await self._resolve_by_start(row, info)
        # Servers before 1.32 hand out the current run's id where a start meets an open chain.
        ours = info.first_run_id, info.execution.run_id
        if row.run_id in ours or row.run_id.lower() in ours:
            if is_open(info):
                self._visibility.note_open(row, info)
            return await self._head(info)
        try:
            return await self._follow(row.workflow_id, row.run_id, current=info)
        except NotFound:
            # Servers before 1.32 may have handed out a run from the middle of a chain; once that
            # run is past its retention, the chain can be the current one and still go on. Servers
            # before 1.25 do not tell where the current chain began.
            if not info.first_run_id or row.created_at is None:
                return Missing("run not found, id in use", id_in_use=True)
            after = await self._chain_start(info) - row.created_at > CLOCK_SKEW
            return Missing() if after else Missing("run not found, id in use", id_in_use=True)

    async def _head(self, info: WorkflowExecutionInfo) -> Observation:
        """The observation of a chain whose last run is `info`."""
        if is_continued(info):
            return Unknown("between two runs of a chain")
        status = close_status(info)
        if status is None:
            return Open(status_name(info))
        close_time = to_datetime(info.close_time, "close time")
        failure = None
        if status is not CloseStatus.COMPLETED:
            failure = await why_closed(self._rpc, info, status, self._decoder)
        run_id = info.execution.run_id
        return Closed(status, close_time, run_id, failure, workflow_type=info.type.name)

    async def _resolve_by_start(self, row: RunRow, info: WorkflowExecutionInfo) -> Observation:
        """A row without a run id: ours is the chain that started when the row was created.

        Where another use of the id started in that time too, nothing tells which one is ours.
        """
        if row.created_at is None:
            return Unknown("the row has neither a run id nor a creation time")
        started = await self._chain_start(info)
        if not -CLOCK_SKEW <= started - row.created_at <= self._start_delay:
            return Missing("workflow id reused", id_in_use=True)
        observation = await self._head(info)
        if not isinstance(observation, Closed):
            return observation
        if not info.first_run_id:
            return Unknown("the row has no run id, and the server does not say where chains begin")
        earliest = row.created_at - CLOCK_SKEW
        if await starts_between(self._rpc, row.workflow_id, earliest, started):
            return Unknown("the row has no run id, and its workflow id was used twice in a row")
        start = ChainStart(info.first_run_id, started, CLOCK_SKEW, self._start_delay)
        return replace(observation, start=start)

    async def _chain_start(self, info: WorkflowExecutionInfo) -> datetime:
        if info.first_run_id not in ("", info.execution.run_id):
            try:
                first = await self._rpc.describe(info.execution.workflow_id, info.first_run_id)
            except NotFound as error:
                raise RowError("the first run of the current chain is gone") from error
            info = first.workflow_execution_info
        return to_datetime(info.start_time, "start time")

    async def _follow(
        self, workflow_id: str, run_id: str, current: WorkflowExecutionInfo | None
    ) -> Observation:
        """Walk the row's own chain, which the workflow id does not lead to, to its last run.

        Each run expires on its own, with a jitter: archived ones may come before and after those
        that Temporal still knows.
        """
        for _ in range(MAX_HOPS):
            try:
                reached = await self._hop(workflow_id, run_id, current)
            except NotFound:
                if not await self._may_ask_archive():
                    raise
                reached = await archived_end(self._rpc, workflow_id, run_id, self._decoder)
            if isinstance(reached, Closed) and current and _may_go_on(current, run_id):
                return Unknown("the server does not say which chain the id's current run is of")
            if not isinstance(reached, str):
                return reached
            run_id = reached
        return Unknown(f"the chain is longer than {MAX_HOPS} runs")

    async def _hop(
        self, workflow_id: str, run_id: str, current: WorkflowExecutionInfo | None
    ) -> Observation | str:
        """The observation of the chain if this run is its last, or else the id of the next run."""
        run = await self._rpc.describe(workflow_id, run_id)
        info = run.workflow_execution_info
        if current and info.first_run_id and info.first_run_id == current.first_run_id:
            return await self._head(current)  # the row holds a run from the chain's middle
        if is_open(info):
            return Open(status_name(info))
        return await following_run(self._rpc, run) or await self._head(info)

    async def _may_ask_archive(self) -> bool:
        if not self._ask_archive:
            return False
        if self.namespace is None:  # outside of a pass nobody may have asked for it
            self.namespace = await describe_namespace(self._rpc)
        return self.namespace.archives_history


def _may_go_on(current: WorkflowExecutionInfo, run_id: str) -> bool:
    """Whether the chain of a run that has ended may go on as the id's current run.

    A run that is reset after its end shows it in its description since server 1.28, in the first
    run id of the new run since 1.25, and nowhere before.
    """
    return not current.first_run_id and current.execution.run_id.lower() != run_id.lower()
