"""Reading an archived history: in pages, to its end, within a limit."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, NotFoundFailure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnusable
from reconciler.temporal.client import rpc as rpc_module
from reconciler.temporal.client.error_codes import NotFound, NotNow, RowError
from tests.support.temporal.stubs import Namespaces, error, rpc

NOT_FOUND = error(RPCStatusCode.NOT_FOUND, detail=NotFoundFailure())


class Archive(Namespaces):
    """Returns these pages in turn; the token is the number of the next one."""

    def __init__(
        self, *pages: list[int] | RPCError, archived: bool = True, endless: bool = False
    ) -> None:
        self.pages, self.archived, self.endless = pages, archived, endless
        self.requests: list[GetWorkflowExecutionHistoryRequest] = []
        self.metadata: list[Any] = []

    async def get_workflow_execution_history(
        self, request: GetWorkflowExecutionHistoryRequest, metadata: Any, **_: Any
    ) -> GetWorkflowExecutionHistoryResponse:
        asked = GetWorkflowExecutionHistoryRequest()
        asked.CopyFrom(request)
        self.requests.append(asked)
        self.metadata.append(metadata)
        number = int(request.next_page_token or b"0")
        page = self.pages[0 if self.endless else number]
        if isinstance(page, RPCError):
            raise page
        more = self.endless or number + 1 < len(self.pages)
        return GetWorkflowExecutionHistoryResponse(
            history=History(events=[HistoryEvent(event_id=id_) for id_ in page]),
            next_page_token=str(number + 1).encode() if more else b"",
            archived=self.archived,
        )


async def read(archive: Archive) -> list[int]:
    return [event.event_id async for event in rpc(archive).archived_events("wf", "run-1")]


async def test_every_page_is_read_in_order() -> None:
    archive = Archive([1, 2], [3, 4], [5])

    assert await read(archive) == [1, 2, 3, 4, 5]
    assert [asked.next_page_token for asked in archive.requests] == [b"", b"1", b"2"]


async def test_a_page_without_events_is_not_the_end() -> None:
    assert await read(Archive([1], [], [2])) == [1, 2]


async def test_the_next_page_is_read_only_when_needed() -> None:
    archive = Archive([1], [2])
    events = rpc(archive).archived_events("wf", "run-1")

    await anext(events)

    assert len(archive.requests) == 1


async def test_the_request_makes_the_server_read_the_archive() -> None:
    archive = Archive([1])
    await read(archive)

    (asked,) = archive.requests
    assert asked.namespace == "ns"
    assert asked.execution.workflow_id == "wf"
    assert asked.execution.run_id == "run-1"
    assert not asked.skip_archival
    assert asked.maximum_page_size == 256, "the server's own maximum: more is logged as a warning"
    unset = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_UNSPECIFIED
    assert asked.history_event_filter_type == unset, (
        "an archive that applied it would hide the rest"
    )
    assert archive.metadata == [{"supported-features": "follows-next-run-id"}]


async def test_every_page_counts_as_a_call_for_history() -> None:
    calls = rpc(Archive([1], [2]))

    async for _ in calls.archived_events("wf", "run-1"):
        pass

    assert calls.counts == {"history": 2}


async def test_a_run_that_is_not_archived_is_not_found() -> None:
    with pytest.raises(NotFound):
        await read(Archive(NOT_FOUND))


async def test_a_missing_page_is_not_a_missing_run() -> None:
    with pytest.raises(RowError, match="has a page missing") as raised:
        await read(Archive([1], NOT_FOUND))

    assert not isinstance(raised.value, NotFound)


async def test_a_history_that_is_not_from_the_archive_is_refused() -> None:
    with pytest.raises(RowError, match="did not know the run at first"):
        await read(Archive([1], archived=False))


async def test_an_endless_history_is_refused() -> None:
    archive = Archive([1], endless=True)

    with pytest.raises(RowError, match="longer than 250 pages"):
        await read(archive)

    assert len(archive.requests) == rpc_module.MAX_ARCHIVE_PAGES


async def test_the_longest_possible_history_is_read_to_its_end() -> None:
    longest = 51_200
    pages = [
        list(range(first, first + rpc_module.ARCHIVE_PAGE_EVENTS))
        for first in range(1, longest, rpc_module.ARCHIVE_PAGE_EVENTS)
    ]

    assert (await read(Archive(*pages)))[-1] == longest


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        pytest.param(error(RPCStatusCode.INTERNAL), RowError, id="internal"),
        pytest.param(error(RPCStatusCode.INVALID_ARGUMENT), RowError, id="invalid argument"),
        pytest.param(error(RPCStatusCode.UNAVAILABLE), NotNow, id="an unreachable blob store"),
        pytest.param(
            error(RPCStatusCode.NOT_FOUND, detail=NamespaceNotFoundFailure(namespace="ns")),
            TemporalUnusable,
            id="absent namespace",
        ),
    ],
)
async def test_error_codes_mean_the_same_as_elsewhere(
    answer: RPCError, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning) as raised:
        await read(Archive(answer))

    assert not isinstance(raised.value, NotFound)
