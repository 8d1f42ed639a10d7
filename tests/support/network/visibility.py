"""A real Temporal whose visibility is late, wrong, unsorted, refused or silent.

Only ListWorkflowExecutions is changed; everything else passes through.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from zlib import crc32

from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)

from tests.support.network.frontend import HANG
from tests.support.network.relay import Call, relay

LIST, DESCRIBE = "ListWorkflowExecutions", "DescribeWorkflowExecution"
RUNNING = Status.WORKFLOW_EXECUTION_STATUS_RUNNING
#: A list of the newest closings of one status.
_OF_A_STATUS = re.compile(r"ExecutionStatus = '\w+'")
#: A list of the open workflows among some.
_OF_IDS = re.compile(r"(WorkflowId IN \(.*\)) AND ExecutionStatus NOT IN \(.*\)", re.DOTALL)


@dataclass
class Visibility:
    """What is wrong with it, and which calls have come."""

    address: str = ""
    #: A closing becomes visible at most this many seconds late, and at least half as many: each
    #: after a time of its own, so that a later one may be shown first.
    lag: float = 0
    #: Workflows that are shown as open for good.
    hidden: set[str] = field(default_factory=set)
    #: The oldest closing comes first.
    is_unsorted: bool = False
    #: No page is larger, whatever was asked for.
    largest_page: int = 1000
    #: The name of a gRPC status code, with which every list is refused, or `HANG`.
    refusal: str | None = None
    #: While it was down last, in seconds since 1970, and how long it then took to catch up.
    _down: tuple[float, float] = (0, 0)
    _backlog: float = 0
    #: Calls by method.
    calls: Counter[str] = field(default_factory=Counter)
    #: List calls by query; those about ids as `WorkflowId`.
    queries: Counter[str] = field(default_factory=Counter)
    #: Descriptions by workflow id.
    described: Counter[str] = field(default_factory=Counter)

    def fail(self, refusal: str) -> None:
        """Go down: refuse lists, and record no closings."""
        self.refusal, self._down = refusal, (time.time(), math.inf)

    def recover(self, backlog: float = 0) -> None:
        """Be up again; closings from meanwhile appear within this many seconds, in any order."""
        self.refusal, self._backlog = None, backlog
        self._down = (self._down[0], time.time())

    async def answer(self, call: Call) -> bytes:
        self.calls[call.method] += 1
        if call.method == DESCRIBE:
            asked = DescribeWorkflowExecutionRequest.FromString(call.request)
            self.described[asked.execution.workflow_id] += 1
        if call.method != LIST:
            return await call.forward()
        request = ListWorkflowExecutionsRequest.FromString(call.request)
        self.queries[re.sub(r"^(WorkflowId)\b.*", r"\1", request.query, flags=re.DOTALL)] += 1
        if self.refusal == HANG:
            await asyncio.Event().wait()
        if self.refusal is not None:
            await call.refuse(self.refusal, "visibility is down")
        request.page_size = min(request.page_size, self.largest_page)
        if self.lag or self.hidden or self._backlog:
            if _OF_A_STATUS.fullmatch(request.query):
                found = await self._closed(call, request)
            else:
                found = await self._open(call, request)
        else:
            found = await _listed(call, request)
        if self.is_unsorted:
            executions = sorted(found.executions, key=lambda info: info.close_time.ToNanoseconds())
            del found.executions[:]
            found.executions.extend(executions)
        return found.SerializeToString()

    async def _closed(
        self, call: Call, request: ListWorkflowExecutionsRequest
    ) -> ListWorkflowExecutionsResponse:
        """A page of the closings that are visible; it is full unless there are no more."""
        shown: list[WorkflowExecutionInfo] = []
        rest = ListWorkflowExecutionsRequest()
        rest.CopyFrom(request)
        while True:
            rest.page_size = request.page_size - len(shown)
            found = await _listed(call, rest)
            shown += [info for info in found.executions if self._is_visible(info)]
            rest.next_page_token = found.next_page_token
            if len(shown) == request.page_size or not rest.next_page_token:
                return ListWorkflowExecutionsResponse(
                    executions=shown, next_page_token=rest.next_page_token
                )

    async def _open(
        self, call: Call, request: ListWorkflowExecutionsRequest
    ) -> ListWorkflowExecutionsResponse:
        """The open ones among some ids, and those whose closing is not visible."""
        asked = _OF_IDS.fullmatch(request.query)
        if asked is None:
            return await _listed(call, request)
        every = ListWorkflowExecutionsRequest()
        every.CopyFrom(request)
        every.query = asked[1]
        found = await _listed(call, every)
        shown = []
        for info in found.executions:
            if not self._is_visible(info):
                info.status = RUNNING
                info.ClearField("close_time")
            if not info.HasField("close_time"):
                shown.append(info)
        return ListWorkflowExecutionsResponse(
            executions=shown, next_page_token=found.next_page_token
        )

    def _is_visible(self, info: WorkflowExecutionInfo) -> bool:
        if not info.HasField("close_time"):
            return True
        if info.execution.workflow_id in self.hidden:
            return False
        closed = info.close_time.ToNanoseconds() / 1e9
        share = crc32(info.execution.run_id.encode()) / 2**32
        shown = closed + self.lag * (1 + share) / 2
        if self._down[0] <= closed <= self._down[1]:
            shown = max(shown, self._down[1] + self._backlog * share)
        return time.time() >= shown


async def _listed(
    call: Call, request: ListWorkflowExecutionsRequest
) -> ListWorkflowExecutionsResponse:
    answer = await call.forward(request.SerializeToString())
    return ListWorkflowExecutionsResponse.FromString(answer)


@asynccontextmanager
async def visibility(target: str) -> AsyncIterator[Visibility]:
    """Listen in front of the Temporal at `target`, without TLS; nothing is wrong at first."""
    seen = Visibility()
    async with relay(target, seen.answer) as seen.address:
        yield seen
