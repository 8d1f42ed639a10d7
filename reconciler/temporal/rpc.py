"""The raw calls to Temporal, with rate limit, retry and count.

Raw because the SDK's `describe()` raises on a paused workflow and retries on its own account
(SDK 1.35). A call returns an answer, or raises what the error code means: `RowError` for what
concerns this row only, `TemporalUnusable` for what ends the pass.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from reconciler.temporal.api_key import KeyFile
from reconciler.temporal.codes import (
    NO_ACCESS,
    NamespaceUnusable,
    NotFound,
    RowError,
    is_away,
    is_overload,
    is_rate_limit,
    meaning,
)
from reconciler.temporal.limiter import RateLimiter
from reconciler.temporal.route import Route

#: Per attempt. A describe takes milliseconds; a server that needs longer is in trouble.
RPC_TIMEOUT = timedelta(seconds=10)
#: Seconds between the tries of a throttled call (about 16 in all); then the pass gives way.
THROTTLED_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)
#: Events read backwards from the end in search of the request that cancelled a workflow.
CANCEL_SEARCH_EVENTS = 100
#: The server's own maximum; it logs a warning for each call that asks for more (server 1.32,
#: primitives/constants.go).
ARCHIVE_PAGE_EVENTS = 256
#: Every page but the last is full, and a history ends at 51,200 events where nobody raised
#: `limit.historyCount.error`: 200 pages.
MAX_ARCHIVE_PAGES = 250

# Without this, a server answers clients that it does not know to follow runs with a synthetic
# CONTINUED_AS_NEW in place of the true close event (server 1.32, get_history_util.go).
_FOLLOWS_RUNS = {"supported-features": "follows-next-run-id"}

_Response = TypeVar("_Response")


class Rpc:
    """The handful of calls the probe needs, on one client and one rate limit."""

    def __init__(
        self,
        client: Client,
        limiter: RateLimiter,
        key_file: KeyFile | None = None,
        row_namespace: str | None = None,
        list_limiter: RateLimiter | None = None,
    ) -> None:
        """`list_limiter`: a limit for list calls besides `limiter`, which is for all.

        `key_file`: where the client's API key comes from, if it is from a file.

        `row_namespace`: the namespace that a row names; without it, that of the client.
        """
        self.client = client
        self._service = client.workflow_service
        #: The namespace that the calls are about.
        self.namespace = row_namespace or client.namespace
        self._named_by = (
            "TEMPORAL_NAMESPACE" if row_namespace is None else "the right one in the row"
        )
        config = client.service_client.config
        self._route = Route(config.target_host, config.tls, config.http_connect_proxy_config)
        self._limiter, self._waits = limiter, True
        self._list_limiter = list_limiter or RateLimiter(0)
        self._key_file = key_file
        #: The calls that have ended, by kind and by gRPC's name of the code.
        self.calls: Counter[tuple[str, str]] = Counter()

    def of_row(self, namespace: str) -> Rpc:
        """The same for the namespace that a row names; connection, limit and counts are shared."""
        other = Rpc(self.client, self._limiter, self._key_file, namespace, self._list_limiter)
        other.calls = self.calls
        return other

    def at_once(self) -> Rpc:
        """The same in a slot taken without waiting, so that others wait; with its own counts."""
        other = Rpc(self.client, self._limiter, self._key_file)
        other._waits = False
        return other

    @property
    def rate(self) -> float:
        """Calls per second that the limiter lets through now; infinite if it has no limit."""
        return self._limiter.rate

    @property
    def list_rate(self) -> float:
        """The same for list calls, which have a limit of their own besides."""
        return min(self._list_limiter.rate, self._limiter.rate)

    @property
    def list_wait(self) -> float:
        """Seconds until the limit of lists lets the next one through."""
        return self._list_limiter.wait

    @property
    def counts(self) -> Counter[str]:
        """The calls that have ended, by kind alone."""
        counts: Counter[str] = Counter()
        for (kind, _), count in self.calls.items():
            counts[kind] += count
        return counts

    async def describe_namespace(self) -> DescribeNamespaceResponse:
        """The namespace itself: proves that it exists, and tells retention and capabilities."""
        request = DescribeNamespaceRequest(namespace=self.namespace)
        try:
            return await self._call("namespace", self._service.describe_namespace, request)
        except RowError as error:
            raise NamespaceUnusable(
                f"Temporal cannot describe namespace {self.namespace!r}: {error}"
            ) from error

    async def describe(
        self, workflow_id: str, run_id: str = ""
    ) -> DescribeWorkflowExecutionResponse:
        """One run, or the current run of the id if no run is given. Raises `NotFound`."""
        request = DescribeWorkflowExecutionRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        )
        return await self._call("describe", self._service.describe_workflow_execution, request)

    async def close_event(self, workflow_id: str, run_id: str) -> HistoryEvent:
        """The true last event of a closed run. Raises `NotFound` if it is gone."""
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            skip_archival=True,
        )
        response = await self._call(
            "history", self._service.get_workflow_execution_history, request, _FOLLOWS_RUNS
        )
        if not response.history.events:
            raise RowError("the run is closed, but its history has no close event yet")
        return response.history.events[-1]

    async def archived_events(self, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
        """The events of an archived run in their order. Raises `NotFound` if it is not archived.

        All of them, because an archive knows no filter for the close event, and one by one,
        because nobody needs them together. The server reads from the archive only what it does
        not know itself, and only with a run id (server 1.32, workflow_handler.go).
        """
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=ARCHIVE_PAGE_EVENTS,
            skip_archival=False,
        )
        method = self._service.get_workflow_execution_history
        for _ in range(MAX_ARCHIVE_PAGES):
            try:
                page = await self._call("history", method, request, _FOLLOWS_RUNS)
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
        """Why a run was cancelled, as its requester put it; empty if nobody said."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=CANCEL_SEARCH_EVENTS,
        )
        response = await self._call(
            "history", self._service.get_workflow_execution_history_reverse, request
        )
        for event in response.history.events:
            if event.HasField("workflow_execution_cancel_requested_event_attributes"):
                return event.workflow_execution_cancel_requested_event_attributes.cause
        return ""

    async def list(self, query: str, page_size: int) -> ListWorkflowExecutionsResponse:
        """The workflows that visibility finds by a query, one page of them."""
        request = ListWorkflowExecutionsRequest(
            namespace=self.namespace, page_size=page_size, query=query
        )
        return await self._call("list", self._service.list_workflow_executions, request)

    async def _call(
        self,
        kind: str,
        method: Callable[..., Awaitable[_Response]],
        request: Message,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> _Response:
        pauses, away, refused = iter(THROTTLED_PAUSES), False, False
        # Each quota of the server's has its limiter here, which alone gives way for it.
        limiter = self._list_limiter if kind == "list" else self._limiter
        while True:
            if kind == "list":
                await self._list_limiter.acquire()
            await self._limiter.acquire(wait=self._waits)
            key = None if self._key_file is None else self._key_file.renewed()
            code = RPCStatusCode.CANCELLED  # unless it is answered
            try:
                answer = await method(
                    request, retry=False, metadata=metadata or {}, timeout=RPC_TIMEOUT
                )
            except RPCError as error:
                code = error.status
                if limited := is_rate_limit(error):
                    limiter.throttled()
                if limited and not is_overload(error) and (pause := next(pauses, None)):
                    await asyncio.sleep(pause)
                elif is_away(error) and not away:
                    away = True
                elif code in NO_ACCESS and not refused and self._key_has_changed(key):
                    refused = True
                else:
                    raise meaning(error, self._route, self.namespace, self._named_by) from error
            else:
                code = RPCStatusCode.OK
                return answer
            finally:
                self.calls[kind, code.name] += 1

    def _key_has_changed(self, refused: str | None) -> bool:
        return self._key_file is not None and self._key_file.renewed(at_once=True) != refused
