"""The raw calls to Temporal, with rate limit, retry, count and the meaning of every error code.

Raw because the SDK's `describe()` raises on a paused workflow and retries on its own account
(SDK 1.35). A call returns an answer, raises `RowError` for what concerns this row only, or
`TemporalUnusable` for what ends the pass.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, ResourceExhaustedCause
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.text import one_line
from reconciler.errors import TemporalUnfit, TemporalUnusable
from reconciler.temporal.limiter import RateLimiter

#: Per attempt. A describe takes milliseconds; a server that needs longer is in trouble.
RPC_TIMEOUT = timedelta(seconds=10)
#: Seconds between the tries of a throttled call (about 16 in all); then the pass gives way.
THROTTLED_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)
#: Events read backwards from the end in search of the request that cancelled a workflow.
CANCEL_SEARCH_EVENTS = 100

# Without this, a server answers clients that it does not know to follow runs with a synthetic
# CONTINUED_AS_NEW in place of the true close event (server 1.32, get_history_util.go).
_FOLLOWS_RUNS = {"supported-features": "follows-next-run-id"}

# Nothing of the service can be used with these, by any row.
_NO_ACCESS = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)
# The server closes each connection every few minutes: one retry of our own, then it is away.
_AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
)

_Response = TypeVar("_Response")


class RowError(Exception):
    """Temporal's answer makes sense for this row only; the text says what it was."""


class NotFound(RowError):
    """Temporal does not know this workflow or run."""


class Rpc:
    """The handful of calls the probe needs, on one client and one rate limit."""

    def __init__(self, client: Client, limiter: RateLimiter) -> None:
        self.client = client
        self._service = client.workflow_service
        self._namespace = client.namespace
        self._target = client.service_client.config.target_host
        self._limiter = limiter
        #: The calls that have ended, by kind and by gRPC's name of the code.
        self.calls: Counter[tuple[str, str]] = Counter()

    @property
    def rate(self) -> float:
        """Calls per second that the limiter lets through now; infinite if it has no limit."""
        return self._limiter.rate

    @property
    def counts(self) -> Counter[str]:
        """The calls that have ended, by kind alone."""
        counts: Counter[str] = Counter()
        for (kind, _), count in self.calls.items():
            counts[kind] += count
        return counts

    async def describe_namespace(self) -> DescribeNamespaceResponse:
        """The namespace itself: proves that it exists, and tells retention and capabilities."""
        request = DescribeNamespaceRequest(namespace=self._namespace)
        try:
            return await self._call("namespace", self._service.describe_namespace, request)
        except RowError as error:
            raise TemporalUnusable(f"Temporal cannot describe its namespace: {error}") from error

    async def describe(
        self, workflow_id: str, run_id: str = ""
    ) -> DescribeWorkflowExecutionResponse:
        """One run, or the current run of the id if no run is given. Raises `NotFound`."""
        request = DescribeWorkflowExecutionRequest(
            namespace=self._namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        )
        return await self._call("describe", self._service.describe_workflow_execution, request)

    async def close_event(self, workflow_id: str, run_id: str) -> HistoryEvent:
        """The true last event of a closed run. Raises `NotFound` if it is gone."""
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._namespace,
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

    async def cancel_cause(self, workflow_id: str, run_id: str) -> str:
        """Why a run was cancelled, as its requester put it; empty if nobody said."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._namespace,
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

    async def starts_between(self, workflow_id: str, first: datetime, last: datetime) -> bool:
        """Whether visibility knows a run of this id that started in [first, last).

        Visibility lags and may be wrong: good for raising a doubt, never for settling one.
        """
        quoted = workflow_id.replace("\\", "\\\\").replace("'", "\\'")
        request = ListWorkflowExecutionsRequest(
            namespace=self._namespace,
            page_size=1,
            query=f"WorkflowId = '{quoted}' AND StartTime >= '{first.isoformat()}'"
            f" AND StartTime < '{last.isoformat()}'",
        )
        response = await self._call("list", self._service.list_workflow_executions, request)
        return bool(response.executions)

    async def _call(
        self,
        kind: str,
        method: Callable[..., Awaitable[_Response]],
        request: Message,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> _Response:
        pauses, away = iter(THROTTLED_PAUSES), False
        while True:
            await self._limiter.acquire()
            code = RPCStatusCode.CANCELLED  # unless it is answered
            try:
                answer = await method(
                    request, retry=False, metadata=metadata or {}, timeout=RPC_TIMEOUT
                )
            except RPCError as error:
                code = error.status
                if _is_rate_limit(error) and (pause := next(pauses, None)):
                    self._limiter.throttled()
                    await asyncio.sleep(pause)
                elif _is_away(error) and not away:
                    away = True
                else:
                    raise self._meaning(error) from error
            else:
                code = RPCStatusCode.OK
                return answer
            finally:
                self.calls[kind, code.name] += 1

    def _meaning(self, error: RPCError) -> Exception:
        """What an error code that was not retried, or not with success, means to the pass."""
        text = one_line(error.message, 300)
        if error.status == RPCStatusCode.NOT_FOUND:
            # The same code for "no such workflow" and "no such namespace": only the detail tells.
            if _detail(error, NamespaceNotFoundFailure()) is None:
                return NotFound(text)
            return TemporalUnfit(
                f"Temporal at {self._target} has no namespace {self._namespace!r}: "
                "set TEMPORAL_NAMESPACE"
            )
        if error.status in _NO_ACCESS:
            return TemporalUnfit(
                f"Temporal at {self._target} refuses access to namespace {self._namespace!r} "
                f"({error.status.name.lower()}: {text}): check TEMPORAL_API_KEY or TEMPORAL_TLS_*"
            )
        if _is_away(error):
            return TemporalUnusable(
                f"Temporal at {self._target} is unreachable "
                f"({error.status.name.lower()}: {text}): check TEMPORAL_ADDRESS"
            )
        if _is_rate_limit(error):
            return TemporalUnusable(
                f"Temporal at {self._target} keeps throttling namespace {self._namespace!r} "
                f"({text}): lower RECONCILER_MAX_RPS"
            )
        return RowError(f"{error.status.name.lower()}: {text}")


def _is_away(error: RPCError) -> bool:
    """Whether the server could not be reached, or went away during the call."""
    broken = error.status == RPCStatusCode.UNKNOWN and "transport error" in error.message
    return broken or error.status in _AWAY


def _is_rate_limit(error: RPCError) -> bool:
    """Whether the server asks for fewer calls.

    BUSY_WORKFLOW is contention for one workflow's lock and an oversized message is one row's
    affair: slowing down would help neither.
    """
    if error.status != RPCStatusCode.RESOURCE_EXHAUSTED:
        return False
    detail = _detail(error, ResourceExhaustedFailure())
    if detail is None:  # not from Temporal's limiters: gRPC's own message limit, or a proxy
        return "larger than max" not in error.message
    return detail.cause != ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW


_Detail = TypeVar("_Detail", bound=Message)


def _detail(error: RPCError, into: _Detail) -> _Detail | None:
    """The error's status detail of this type, unpacked; None if it has none."""
    details: Any = error.grpc_status.details
    return next((into for detail in details if detail.Unpack(into)), None)
