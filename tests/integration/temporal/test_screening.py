"""Passes over a real table, screened by a real visibility: exactly the right rows change."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from temporalio.api.workflowservice.v1 import (
    ListWorkflowExecutionsResponse,
    PauseWorkflowExecutionRequest,
)
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy

from reconciler.app.app import App
from reconciler.app.wiring import open_app
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.settings.model import Settings
from reconciler.temporal.client import connect as connect_module
from reconciler.temporal.client.rate_limiter import RateLimiter
from tests.conftest import Database
from tests.support.network.gateway import gateway
from tests.support.polling import eventually
from tests.support.temporal.world import World

PLAIN = ["order/17", "a b", "é ☃ 日本", "percent%_", "(paren)", "x" * 900]
#: Stores read these differently, so they are never listed.
ODD = ["it's", 'a "quote"', "back\\slash", "line\nbreak"]
OPEN = 30
SLOW = RetryPolicy(initial_interval=timedelta(minutes=1))


class Table:
    """The application: starts workflows, keeps a row for each, and waits for visibility."""

    def __init__(self, world: World, database: Database) -> None:
        self.world, self.database = world, database
        self.prefix = world.workflow_id[-8:]
        self.rows: dict[str, int] = {}
        self.handles: dict[str, WorkflowHandle[Any, Any]] = {}

    async def start(self, case: str, script: str = "wait", **options: Any) -> None:
        name = f"{self.prefix}{case}"
        self.handles[case] = handle = await self.world.start(script, id=name, **options)
        self.rows[case] = await self.database.insert(name, handle.first_execution_run_id)

    async def fill(self) -> None:
        for number in range(OPEN):
            await self.start(f"open {number}")
        await self.shown(len(self.rows))

    async def end(self, case: str) -> None:
        await self.world.client.get_workflow_handle(self.handles[case].id).terminate("ticket 42")

    async def shown(self, count: int) -> None:
        """Wait until visibility shows `count` of these workflows as not ended."""
        query = (
            f"WorkflowId STARTS_WITH '{self.prefix}' AND ExecutionStatus IN ('Running', 'Paused')"
        )

        async def shown() -> bool:
            return (await self.world.client.count_workflows(query)).count == count

        await eventually(shown)

    async def changed(self) -> set[str]:
        done = await self.database.fetch(
            "SELECT id FROM workflow_executions WHERE status <> 'running'"
        )
        ids = {row["id"] for row in done}
        return {case for case, row_id in self.rows.items() if row_id in ids}


@pytest.fixture
async def table(world: World, database: Database) -> AsyncIterator[Table]:
    table = Table(world, database)
    yield table
    for handle in table.handles.values():
        try:
            await world.client.get_workflow_handle(handle.id).terminate()
        except Exception:  # noqa: BLE001, S112 - it has ended
            continue


@asynccontextmanager
async def app_of(database: Database, address: str, **temporal: Any) -> AsyncIterator[App]:
    # No row is due for a description between two passes. Without a limit for lists, because passes
    # follow each other so closely that descriptions would be faster.
    settings = Settings(
        database_url=SecretStr(database.url),
        max_rps=0,
        visibility_rps=0,
        full_sweep_interval=timedelta(days=1),
    )
    target = {"target_host": address, **temporal}
    async with open_app(settings, writing=True, temporal=target) as app:
        yield app


@pytest.fixture
async def app(database: Database, temporal_address: str) -> AsyncIterator[App]:
    async with app_of(database, temporal_address) as app:
        yield app


async def once(app: App) -> PassReport:
    report = await app.run_pass("once", dry_run=False)
    assert report.outcome is PassOutcome.OK
    return report


async def test_only_ended_rows_change_and_only_rows_that_may_have_ended_are_described(
    table: Table, app: App
) -> None:
    for case in (*PLAIN, *ODD, "paused", "to end", "to end, it's odd"):
        await table.start(case)
    await table.start("chain", "continue, then wait")
    await table.start("retry", "fail until the third attempt", retry_policy=SLOW)
    await table.start("chain to end", "continue, then wait")
    await table.start("used again", "complete")
    await table.world.ended(table.handles["used again"])
    await table.world.start("wait", id=table.handles["used again"].id)
    await _pause(table.world, table.handles["paused"].id)
    for case in ("chain", "retry", "chain to end"):
        await _continued(table, case)
    await table.fill()
    everything = len(table.rows)

    first = await once(app)
    assert (first.tally.screened, first.rpcs["list"], first.rpcs["describe"]) == (
        0,
        0,
        everything + 1,
    )
    assert await table.changed() == {"used again"}

    ended = {"to end", "to end, it's odd", "chain to end"}
    for case in ended:
        await table.end(case)
    await table.shown(everything - len(ended))
    second = await once(app)

    assert await table.changed() == {"used again", *ended}
    assert second.tally.screened == everything - 1 - len(ODD) - len(ended)
    assert second.rpcs["list"] == 1
    assert second.rpcs["describe"] == len(ODD) + len(ended)
    assert second.disagreements == 0


async def _pause(world: World, workflow_id: str) -> None:
    one = World(world.client, world.task_queue, workflow_id)
    await one.first_task_done()
    request = PauseWorkflowExecutionRequest(
        namespace="default", workflow_id=workflow_id, reason="test", request_id="test"
    )
    await world.client.workflow_service.pause_workflow_execution(request)

    async def paused() -> bool:
        return (await one.describe()).workflow_execution_info.status == 8

    await eventually(paused)


async def _continued(table: Table, case: str) -> None:
    handle = table.handles[case]
    one = World(table.world.client, "", handle.id)

    async def continued() -> bool:
        current = (await one.describe()).workflow_execution_info.execution.run_id
        return current != handle.first_execution_run_id

    await eventually(continued)


async def test_while_visibility_lags_a_row_waits_and_no_other_is_affected(
    table: Table, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.fill()
    await once(app)
    lists = app.rpc.list
    before: list[ListWorkflowExecutionsResponse] = []

    async def of_before(query: str, page_size: int) -> ListWorkflowExecutionsResponse:
        if not before:
            before.append(await lists(query, page_size))
        return before[0]

    with monkeypatch.context() as lagging:
        lagging.setattr(app.rpc, "list", of_before)
        assert (await once(app)).tally.screened == OPEN
        await table.end("open 7")
        assert ((await once(app)).tally.screened, await table.changed()) == (OPEN, set())
    await table.shown(OPEN - 1)

    report = await once(app)

    assert await table.changed() == {"open 7"}
    assert report.tally.screened == OPEN - 1


async def test_an_empty_visibility_costs_calls_but_no_row(
    table: Table, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.fill()
    await once(app)

    async def nothing(query: str, page_size: int) -> ListWorkflowExecutionsResponse:
        return ListWorkflowExecutionsResponse()

    monkeypatch.setattr(app.rpc, "list", nothing)
    report = await once(app)

    assert await table.changed() == set()
    assert (report.rpcs["describe"], report.tally.screened) == (OPEN, 0)
    assert report.disagreements == OPEN


async def test_with_a_server_that_cannot_list_each_row_is_described(
    table: Table, database: Database, temporal_address: str
) -> None:
    await table.fill()
    async with gateway(temporal_address, key="right") as gate:
        gate.unimplemented = "ListWorkflowExecutions"
        async with app_of(database, gate.address, api_key="right", tls=False) as app:
            await once(app)
            await table.end("open 7")
            with capture_logs() as lines:
                reports = [await once(app) for _ in range(2)]

    assert await table.changed() == {"open 7"}
    assert [report.rpcs["describe"] for report in reports] == [OPEN, OPEN - 1]
    assert [report.rpcs["list"] for report in reports] == [1, 1], "asked once in each pass"
    refused = [line for line in lines if line["event"] == "visibility_unavailable"]
    assert [line["log_level"] for line in refused] == ["warning", "debug"]


async def test_lists_have_their_own_limit_and_count_in_the_limit_of_all_calls(
    database: Database, temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquired: Counter[float] = Counter()

    class Noted(RateLimiter):
        async def acquire(self, *, wait: bool = True) -> None:
            acquired[self.rate] += 1

    monkeypatch.setattr(connect_module, "RateLimiter", Noted)
    settings = Settings(database_url=SecretStr(database.url), max_rps=70, visibility_rps=7)
    async with open_app(settings, writing=True, temporal={"target_host": temporal_address}) as app:
        acquired.clear()
        await app.rpc.list("WorkflowId = 'any'", 1)

    assert acquired == {70: 1, 7: 1}
