"""Screening takes no longer than the descriptions that it saves, in calls and simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.api.workflowservice.v1 import (
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.service import RPCStatusCode

from reconciler.core.model import RunRow
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.observe import visibility as visibility_module
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import row
from tests.support.polling import eventually
from tests.support.temporal.stubs import error, rpc
from tests.support.temporal.visibility_stub import Service, run

ROWS = 500


class Clock:
    """A clock that moves only by waiting for the rate limit."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Bench:
    """A probe with these limits and a store that shows every row as open."""

    def __init__(self, rows: Sequence[RunRow], max_rps: float, visibility_rps: float) -> None:
        self.rows, self.clock = rows, Clock()
        self.calls = RateLimiter(max_rps, self.clock, self.clock.sleep)
        self.lists = RateLimiter(visibility_rps, self.clock, self.clock.sleep)
        self.service = Service(*(run(each.workflow_id, "run-1") for each in rows))
        self.probe = NamespacesProbe(rpc(self.service, self.calls, self.lists))

    async def busy(self) -> Bench:
        """Use up a slot, so that the next list waits."""
        await self.lists.acquire()
        return self

    @property
    def listed(self) -> int:
        return len(self.service.asked)

    async def screened_then_described(self, saving: float = 1.0) -> tuple[float, int]:
        """Seconds and calls for all rows."""
        began, rest = self.clock.now, 0
        for visible in await self.probe.screen(self.rows, saving):
            if not visible:
                await self.calls.acquire()
                rest += 1
        return self.clock.now - began, self.listed + rest


def page(tenants: int, count: int = ROWS, length: int = 0) -> list[RunRow]:
    """Rows of many namespaces, and with long ids."""
    return [
        row(
            n,
            workflow_id=f"wf-{n}".ljust(length, "é"),
            run_id="run-1",
            namespace=f"ns-{n % tenants}",
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("tenants", [1, 5, 23, 24, 25, 50, 249, 250, 500])
@pytest.mark.parametrize(
    ("max_rps", "visibility_rps"),
    [(100, 5), (100, 0), (100, 100), (10, 5), (5, 5), (1, 5), (1000, 5), (1000, 1), (0, 5), (0, 0)],
)
async def test_it_is_never_slower_than_describing(
    tenants: int, max_rps: float, visibility_rps: float
) -> None:
    bench = Bench(page(tenants), max_rps, visibility_rps)
    # The namespaces are described in both cases, once per pass.
    for number in range(tenants):
        await bench.probe.describe(f"ns-{number}")

    seconds, calls = await bench.screened_then_described()

    assert calls <= ROWS
    limit = ROWS / max_rps if max_rps else ROWS * visibility_module.CALL_SECONDS
    assert seconds <= limit + 1e-6


@pytest.mark.parametrize(("tenants", "lists"), [(1, 1), (5, 5), (25, 25), (26, 1), (250, 1)])
async def test_at_the_default_limits_a_list_that_waits_has_to_save_twenty_rows(
    tenants: int, lists: int
) -> None:
    bench = Bench(page(tenants, tenants * (21 if tenants <= 25 else 19)), 100, 5)

    await bench.probe.screen(bench.rows)

    assert bench.listed == lists


@pytest.mark.parametrize("max_rps", [0, 100])
async def test_a_list_that_does_not_wait_is_worth_a_few_rows(max_rps: float) -> None:
    bench = Bench(page(1, 3), max_rps, 5)

    await bench.probe.screen(bench.rows, 0.9)

    assert bench.listed == 1


async def test_small_namespaces_do_not_prevent_the_screening_of_large_ones() -> None:
    large, small = page(1, 300), page(200, 400)
    bench = Bench([*large, *small[300:]], 100, 5)

    answers = await bench.probe.screen(bench.rows)

    assert list(answers) == [True] * 300 + [None] * 100
    assert bench.listed == 1


@pytest.mark.parametrize(("saving", "lists"), [(1.0, 1), (0.21, 1), (0.19, 0), (0.0, 0)])
async def test_what_is_not_saved_does_not_count(saving: float, lists: int) -> None:
    bench = await Bench(page(1, 100), 100, 5).busy()

    await bench.probe.screen(bench.rows, saving)

    assert bench.listed == lists


@pytest.mark.parametrize(("length", "lists"), [(0, 1), (1000, 0)])
async def test_long_ids_take_more_lists(length: int, lists: int) -> None:
    """A list takes 0.2 s here, describing the rows 0.3 s; long ids need two lists."""
    bench = await Bench(page(1, 300, length), 1000, 5).busy()

    await bench.probe.screen(bench.rows)

    assert bench.listed == lists


async def test_ids_that_cannot_be_listed_save_nothing() -> None:
    odd = [row(n, workflow_id=f"it's {n}", run_id="run-1", namespace="ns-0") for n in range(400)]
    bench = await Bench([*odd, *page(1, 19)], 100, 5).busy()

    assert set(await bench.probe.screen(bench.rows)) == {None}
    assert bench.listed == 0


async def test_a_throttled_list_limit_makes_lists_more_expensive() -> None:
    bench = await Bench(page(1, 30), 100, 5).busy()
    bench.lists.throttled()
    await bench.busy()

    await bench.probe.screen(bench.rows)
    assert bench.listed == 0

    bench.calls.throttled()
    await bench.probe.screen(bench.rows)
    assert bench.listed == 1, "descriptions are more expensive too"


class Holding(Service):
    """Answers lists when released."""

    def __init__(self, *runs: Any) -> None:
        super().__init__(*runs)
        self.go = asyncio.Event()
        self.waiting = 0

    async def list_workflow_executions(
        self, request: ListWorkflowExecutionsRequest, **options: Any
    ) -> ListWorkflowExecutionsResponse:
        self.waiting += 1
        await self.go.wait()
        return await super().list_workflow_executions(request, **options)


async def test_namespaces_are_listed_concurrently() -> None:
    rows = page(5, 50)
    service = Holding(*(run(each.workflow_id, "run-1") for each in rows))
    screening = asyncio.create_task(NamespacesProbe(rpc(service)).screen(rows))

    async def all_are_asked() -> bool:
        return service.waiting == 5

    await eventually(all_are_asked)
    service.go.set()
    assert list(await screening) == [True] * 50


async def test_a_silent_store_delays_a_pass_briefly_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visibility_module, "PATIENCE", 0.01)
    rows = page(2, 50)
    service = Holding()
    probe = NamespacesProbe(rpc(service))

    with capture_logs() as lines:
        for _ in range(3):
            assert list(await probe.screen(rows)) == [None] * 50

    assert service.waiting == 2
    assert [line["why"] for line in lines if line["log_level"] == "warning"] == [
        "no answer within 0 s"
    ] * 2


async def test_a_namespace_that_refuses_does_not_affect_the_others() -> None:
    bench = Bench(page(3, 90), 100, 5)
    bench.service.refusals["ns-1"] = [error(RPCStatusCode.UNIMPLEMENTED, "no list")]

    answers = await bench.probe.screen(bench.rows)

    assert list(answers) == [None if n % 3 == 1 else True for n in range(90)]


async def test_a_list_itself_counts_as_a_call() -> None:
    bench = Bench(page(1, 3), 100, 5)

    await bench.probe.screen(bench.rows, 0.3)
    assert bench.listed == 0

    await bench.probe.screen(bench.rows, 0.4)
    assert bench.listed == 1
