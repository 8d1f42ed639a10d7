"""A tampered visibility differs from the real one as a test asks, and in nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from reconciler.temporal.client.runtime import quiet_runtime
from tests.support.network.visibility import LIST, Visibility, visibility
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace

COUNT = 6
TERMINATED = "ExecutionStatus = 'Terminated'"


@pytest.fixture(scope="module")
async def client(temporal: Client) -> Client:
    """A namespace with workflows that were terminated, and one that is open."""
    client = await new_namespace(temporal, "visibility")
    for number in range(COUNT):
        handle = await client.start_workflow("Any", id=f"wf-{number}", task_queue="nobody")
        await handle.terminate()
    await client.start_workflow("Any", id="wf-open", task_queue="nobody")

    async def shown() -> bool:
        count = await client.count_workflows("WorkflowId STARTS_WITH 'wf-'")
        closed = await client.count_workflows(TERMINATED)
        return (count.count, closed.count) == (COUNT + 1, COUNT)

    await eventually(shown)
    return client


@pytest.fixture
async def seen(temporal_address: str) -> AsyncIterator[Visibility]:
    async with visibility(temporal_address) as seen:
        yield seen


async def listed(client: Client, seen: Visibility, query: str, page_size: int = 4) -> list[str]:
    """The workflow ids of all pages; every page but the last is full."""
    front = await Client.connect(seen.address, namespace=client.namespace, runtime=quiet_runtime())
    request = ListWorkflowExecutionsRequest(
        namespace=client.namespace, query=query, page_size=page_size
    )
    pages: list[Sequence[str]] = []
    while True:
        found = await front.workflow_service.list_workflow_executions(request)
        pages.append([info.execution.workflow_id for info in found.executions])
        request.next_page_token = found.next_page_token
        if not request.next_page_token:
            assert all(len(page) == page_size for page in pages[:-1])
            return [each for page in pages for each in page]


#: The order of their close times, newest first.
CLOSED = [f"wf-{number}" for number in reversed(range(COUNT))]


async def test_nothing_is_wrong_at_first(client: Client, seen: Visibility) -> None:
    assert await listed(client, seen, TERMINATED) == CLOSED
    assert seen.calls[LIST] == seen.queries[TERMINATED] == 2


async def test_hidden_closings_are_shown_as_open(client: Client, seen: Visibility) -> None:
    seen.hidden = {"wf-1", "wf-4"}

    assert await listed(client, seen, TERMINATED) == [
        each for each in CLOSED if each not in seen.hidden
    ]
    screened = "WorkflowId IN ('wf-0', 'wf-1', 'wf-open') AND ExecutionStatus NOT IN ('Terminated')"
    assert sorted(await listed(client, seen, screened)) == ["wf-1", "wf-open"]
    assert seen.queries["WorkflowId"] == 1


async def test_late_closings_are_not_shown_yet(client: Client, seen: Visibility) -> None:
    seen.lag = 3600
    assert await listed(client, seen, TERMINATED) == []
    seen.lag = 0.001
    assert await listed(client, seen, TERMINATED) == CLOSED


async def test_unsorted_pages(client: Client, seen: Visibility) -> None:
    seen.is_unsorted = True

    assert await listed(client, seen, TERMINATED, 100) == CLOSED[::-1]


async def test_refusals(client: Client, seen: Visibility) -> None:
    seen.refusal = "RESOURCE_EXHAUSTED"

    with pytest.raises(RPCError) as raised:
        await listed(client, seen, TERMINATED)
    assert raised.value.status is RPCStatusCode.RESOURCE_EXHAUSTED


async def test_what_closed_in_an_outage_appears_after_it(client: Client, seen: Visibility) -> None:
    seen.fail("UNAVAILABLE")
    with pytest.raises(RPCError):
        await listed(client, seen, TERMINATED)
    await client.get_workflow_handle("wf-open").terminate()

    async def recorded() -> bool:
        return (await client.count_workflows(TERMINATED)).count == COUNT + 1

    await eventually(recorded)
    seen.recover(backlog=3600)
    assert await listed(client, seen, TERMINATED) == CLOSED
    seen.recover()
    assert await listed(client, seen, TERMINATED) == ["wf-open", *CLOSED]
