"""The raw calls to Temporal about workflows.

Raw because the SDK's `describe()` raises on a paused workflow and does its own retries (SDK 1.35).
A call returns an answer about what was asked, or raises: `RowError` for what concerns this row
only, `TemporalUnusable` for what ends the pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from functools import partial
from typing import TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client

from reconciler.temporal.client.calls import Calls
from reconciler.temporal.client.error_codes import NotFound, NotNow, RowError
from reconciler.temporal.client.once import Once
from reconciler.temporal.client.rate_limiter import LIST_FLOOR_RPS, RateLimiter
from reconciler.temporal.client.task_calls import TaskCalls
from reconciler.temporal.config.api_key import KeyFile

#: Events read backwards from the end to find the request that cancelled a workflow.
CANCEL_SEARCH_EVENTS = 100
#: The server's own maximum; it logs a warning for each call that asks for more (server 1.32,
#: primitives/constants.go).
ARCHIVE_PAGE_EVENTS = 256
#: Every page but the last is full, and a history ends at 51,200 events unless
#: `limit.historyCount.error` was raised: 200 pages.
MAX_ARCHIVE_PAGES = 250

# Without this, the server takes the client for one that does not follow runs, and returns a
# synthetic CONTINUED_AS_NEW instead of the true close event (server 1.32, get_history_util.go).
_FOLLOWS_RUNS = {"supported-features": "follows-next-run-id"}


_Answer = TypeVar("_Answer")


class Rpc(TaskCalls):
    """The calls that the probe needs, over one client and one rate limit."""

    def __init__(
        self,
        client: Client,
        limiter: RateLimiter,
        key_file: KeyFile | None = None,
        list_limiter: RateLimiter | None = None,
    ) -> None:
        """`list_limiter`: limits list calls in addition to `limiter`, which limits all.

        `key_file`: the file with the client's API key, if it comes from one.
        """
        super().__init__(client, Calls(limiter, list_limiter or RateLimiter(0), key_file))
        #: How many targets make their calls under this limit.
        self.sharers = 1
        #: Set by `together`.
        self._once: Once | None = None

    @property
    def ended_calls(self) -> Counter[tuple[str, str]]:
        """The calls that have ended, by kind and by gRPC's name of the code."""
        return self._calls.ended

    def start_pass(self, *, still_wary: bool = False) -> None:
        """Forget which workflows got no answer in the last pass; `still_wary`: see `Answers`."""
        self._calls.answers.start_pass(still_wary=still_wary)

    def in_namespace(self, namespace: str) -> Rpc:
        """The same calls in a namespace that a row names; they share limits and counts."""
        other: Rpc = copy(self)
        other._configured, other.namespace = self, namespace
        return other

    def together(self) -> Rpc:
        """The same calls for rows that are asked about together: equal ones are made once."""
        other: Rpc = copy(self)
        other._once = Once()
        return other

    def apart(self) -> Rpc:
        """The same calls, for another task: under the same limits, but counted by themselves.

        Nor do they share which calls were answered, which is about one pass.
        """
        return self._with(self._calls.apart())

    def limited(self, max_rps: float, visibility_rps: float) -> Rpc:
        """The same calls under limits of their own, with their own counts; 0 is no limit."""
        lists = RateLimiter(visibility_rps, floor=LIST_FLOOR_RPS)
        return self._with(Calls(RateLimiter(max_rps), lists, self._calls.key_file))

    def prioritized(self) -> Rpc:
        """The same calls, taking their slots without waiting, with their own counts."""
        return self._with(self._calls.apart(waits=False))

    def _with(self, calls: Calls) -> Rpc:
        other: Rpc = copy(self)
        other._calls = calls
        return other

    @property
    def rate(self) -> float:
        """Calls per second that the limiter allows now; infinite without a limit."""
        return self._calls.limiter.rate

    @property
    def list_rate(self) -> float:
        """List calls per second that both limits allow now."""
        return min(self._calls.list_limiter.rate, self._calls.limiter.rate)

    @property
    def list_wait(self) -> float:
        """Seconds until the limit of list calls allows the next one."""
        return self._calls.list_limiter.wait

    @property
    def counts(self) -> Counter[str]:
        """The calls that have ended, by kind."""
        counts: Counter[str] = Counter()
        for (kind, _), count in self._calls.ended.items():
            counts[kind] += count
        return counts

    async def describe(
        self, workflow_id: str, run_id: str = ""
    ) -> DescribeWorkflowExecutionResponse:
        """One run, or the current run of the id if no run is given. Raises `NotFound`."""
        ask = partial(self._describe, workflow_id, run_id)
        return await self._asked("describe", workflow_id, run_id, ask)

    async def _describe(self, workflow_id: str, run_id: str) -> DescribeWorkflowExecutionResponse:
        request = DescribeWorkflowExecutionRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        )
        method = partial(self._service.describe_workflow_execution, request)
        answer = await self._call("describe", method)
        if not _is_about(answer.workflow_execution_info.execution, workflow_id, run_id):
            raise NotNow("Temporal answered about another workflow or run")
        return answer

    async def close_event(self, workflow_id: str, run_id: str) -> HistoryEvent:
        """The true last event of a closed run. Raises `NotFound` if it is gone."""
        ask = partial(self._close_event, workflow_id, run_id)
        return await self._asked("close", workflow_id, run_id, ask)

    async def _close_event(self, workflow_id: str, run_id: str) -> HistoryEvent:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            skip_archival=True,
        )
        read = self._service.get_workflow_execution_history
        response = await self._call("history", partial(read, request, metadata=_FOLLOWS_RUNS))
        if not response.history.events:
            raise NotNow("the run is closed, but its history has no close event yet")
        return response.history.events[-1]

    async def archived_events(self, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
        """The events of an archived run, in order. Raises `NotFound` if it is not archived.

        All events, because an archive cannot filter for the close event. The server reads the
        archive only for runs that it has deleted, and only by run id (server 1.32,
        workflow_handler.go).
        """
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=ARCHIVE_PAGE_EVENTS,
            skip_archival=False,
        )
        read = self._service.get_workflow_execution_history
        method = partial(read, request, metadata=_FOLLOWS_RUNS)
        for _ in range(MAX_ARCHIVE_PAGES):
            try:
                page = await self._call("history", method, patient=True)
            except NotFound as error:
                if request.next_page_token:
                    raise RowError("the archived history has a page missing") from error
                raise
            if not page.archived:
                raise RowError("Temporal did not know the run at first, and then it did")
            for event in page.history.events:
                yield event
            if not page.next_page_token:
                return
            request.next_page_token = page.next_page_token
        raise RowError(f"the archived history is longer than {MAX_ARCHIVE_PAGES} pages")

    async def cancel_cause(self, workflow_id: str, run_id: str) -> str:
        """The reason given when a run was cancelled; empty if none was."""
        ask = partial(self._cancel_cause, workflow_id, run_id)
        return await self._asked("cancel", workflow_id, run_id, ask)

    async def _cancel_cause(self, workflow_id: str, run_id: str) -> str:
        for event in await self.latest_events(workflow_id, run_id, CANCEL_SEARCH_EVENTS):
            if event.HasField("workflow_execution_cancel_requested_event_attributes"):
                return event.workflow_execution_cancel_requested_event_attributes.cause
        return ""

    async def _asked(
        self, kind: str, workflow_id: str, run_id: str, ask: Callable[[], Awaitable[_Answer]]
    ) -> _Answer:
        if self._once is None:
            return await ask()
        return await self._once((kind, workflow_id, run_id.lower()), ask)

    async def list(
        self, query: str, page_size: int, page_token: bytes = b"", *, patient: bool = False
    ) -> ListWorkflowExecutionsResponse:
        """A page of the workflows that visibility finds for a query; the first without a token."""
        request = ListWorkflowExecutionsRequest(
            namespace=self.namespace,
            page_size=page_size,
            query=query,
            next_page_token=page_token,
        )
        method = partial(self._service.list_workflow_executions, request)
        try:
            return await self._call("list", method, patient=patient)
        except NotFound as error:  # a list without matches is empty
            raise RowError(f"visibility answers not_found: {error}") from error


def _is_about(found: WorkflowExecution, workflow_id: str, run_id: str) -> bool:
    """Whether it is the run that was asked about; any run of the workflow if none was named."""
    if found.workflow_id != workflow_id or not found.run_id:
        return False
    # Run ids are UUIDs; the server writes them in lower case, however it was asked.
    return not run_id or found.run_id.lower() == run_id.lower()
