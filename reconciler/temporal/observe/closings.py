"""Visibility as a feed: the newest closings of one status in a namespace.

A query names one status and nothing else. With any other condition, server 1.32 on PostgreSQL reads
every open or closed workflow; this one reads the rows that it returns. Visibility sorts by close
time, the last first, which is documented nowhere: so the order of each page is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsResponse

from reconciler.core.errors import FeedOff, TemporalUnusable
from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.model import CloseStatus
from reconciler.temporal.client.error_codes import NamespaceUnfit, NotNow, RowError
from reconciler.temporal.client.execution_info import close_status, status_name, to_datetime
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.visibility import MAX_PAGE

#: How much larger each page is than the one before. A poll mostly needs a few results; reading on
#: costs the server all pages before (server 1.32: a page token is only a condition of the query).
GROWTH = 10


class VisibilityClosings:
    """Implements `Closings` over the calls of a connection.

    A page that hangs ends after two attempts of `calls.RPC_TIMEOUT`; there is no limit on all
    pages, because reading would begin again at the top. The order among closings of the same time
    is not defined, and a closing may come twice.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def read(self, namespace: str, status: CloseStatus, asked: Listing) -> Listed:
        """See `Closings`. A closing whose time cannot be stored is left out.

        Such a time is out of the calendar. No row could be finished with it either.
        """
        rpc = self._rpc if namespace == self._rpc.namespace else self._rpc.in_namespace(namespace)
        found: list[Closing] = []
        last: datetime | None = None
        token, size = b"", min(asked.size, MAX_PAGE)
        for _ in range(asked.pages):
            page = await self._page(rpc, status, size, token)
            # All of it, also what is older than the floor: another order may begin with that.
            for closing in _closings(page.executions, status):
                if last is not None and closing.closed_at > last:
                    raise _off(closing, f"as closed at {closing.closed_at}, below one of {last}")
                last = closing.closed_at
                if asked.floor is None or last >= asked.floor:
                    found.append(closing)
            token = page.next_page_token
            past_floor = last is not None and asked.floor is not None and last < asked.floor
            if past_floor or not token:  # the last page may be an empty one
                return Listed(found, complete=True)
            size = min(size * GROWTH, MAX_PAGE)
        return Listed(found, complete=False)

    async def _page(
        self, rpc: Rpc, status: CloseStatus, size: int, token: bytes
    ) -> ListWorkflowExecutionsResponse:
        """A page; what is refused is asked for again, in case that was an accident.

        With a smaller page, in case a proxy limits messages. Patient, because no other list would
        be quicker: a list that takes a second is slow, not stuck like a single workflow.
        """
        ask = partial(rpc.list, f"ExecutionStatus = '{_query_name(status)}'", patient=True)
        try:
            try:
                return await ask(size, token)
            except NotNow:
                raise
            except RowError:
                return await ask(max(size // GROWTH, 1), token)
        except NotNow as error:
            raise TemporalUnusable(
                f"visibility of namespace {rpc.namespace!r} cannot be used now ({error})"
            ) from error
        except RowError as error:
            raise FeedOff(f"Temporal does not list closings ({error})") from error
        except NamespaceUnfit as error:
            await self._rpc.describe_namespace()  # raises if Temporal refuses more than this
            raise FeedOff(
                f"Temporal does not list closings ({error.problem})", error.fix
            ) from error


def _closings(listed: Iterable[WorkflowExecutionInfo], status: CloseStatus) -> Iterator[Closing]:
    """Raises `FeedOff` for a result that has no place in such a list."""
    for info in listed:
        run, time = info.execution, info.close_time
        if close_status(info) is not status:
            raise _off(run, f"as {status_name(info)}, when asked for {status}")
        if time.seconds <= 0:  # unset, or what Go writes for an unset time
            raise _off(run, "without a close time")
        try:
            yield Closing(run.workflow_id, run.run_id, to_datetime(time))
        except NotNow:
            continue


def _off(run: Closing | WorkflowExecution, what: str) -> FeedOff:
    return FeedOff(f"visibility lists run {run.run_id!r} of workflow {run.workflow_id!r} {what}")


def _query_name(status: CloseStatus) -> str:
    """The status as queries spell it, e.g. TimedOut."""
    return status.title().replace("_", "")
