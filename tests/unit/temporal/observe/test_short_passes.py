"""Short passes share for a minute what they know of namespaces, and no longer."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig, NamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse
from temporalio.service import RPCStatusCode

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Missing, RunRow, Unknown
from reconciler.temporal.client.answers import MAX_UNANSWERED, WARY
from reconciler.temporal.client.calls import BRIEF_TIMEOUT, HUNG_SECONDS, RPC_TIMEOUT
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.observe.known_namespaces import SHARED
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import row
from tests.support.temporal.stubs import error, rpc

DAY = timedelta(days=1)
GONE = error(RPCStatusCode.NOT_FOUND, "no such workflow")
REFUSED = error(RPCStatusCode.INVALID_ARGUMENT, "text")
SILENT = error(RPCStatusCode.UNAVAILABLE, "text")


class Service:
    """Namespaces with an id and a retention that can be changed, and without any workflow."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.generation, self.retention = 1, DAY
        self.trouble: Exception | None = None
        self.hangs = False
        self.described: Counter[str] = Counter()
        self.timeouts: list[timedelta] = []

    async def describe_namespace(self, request: Any, **_: Any) -> DescribeNamespaceResponse:
        name = request.namespace
        self.described[name] += 1
        if self.trouble:
            raise self.trouble
        kept = Duration()
        kept.FromTimedelta(self.retention)
        return DescribeNamespaceResponse(
            namespace_info=NamespaceInfo(name=name, id=f"{name}-{self.generation}"),
            config=NamespaceConfig(workflow_execution_retention_ttl=kept),
        )

    async def describe_workflow_execution(self, request: Any, **options: Any) -> Any:
        self.timeouts.append(options["timeout"])
        self.now += HUNG_SECONDS * self.hangs
        raise SILENT if self.hangs else GONE

    def probe(self, *, short_passes: bool = True, **options: Any) -> NamespacesProbe:
        calls = rpc(self)
        calls._calls.answers.clock = self.clock
        return NamespacesProbe(calls, short_passes=short_passes, clock=self.clock, **options)

    def clock(self) -> float:
        return self.now


async def short_pass(probe: NamespacesProbe, *rows: RunRow) -> list[str]:
    """Returns the ids of the rows' namespaces."""
    await probe.retention()
    for each in rows:
        await probe.observe(each)
    return [probe.namespace_id(each) for each in rows]


OWN, OTHER = row(1), row(2, namespace="other")


@pytest.mark.parametrize(("short_passes", "described"), [(True, 2), (False, 10)])
async def test_they_describe_each_namespace_once_a_minute(
    *, short_passes: bool, described: int
) -> None:
    service = Service()
    probe = service.probe(short_passes=short_passes)

    for _ in range(10):
        assert await short_pass(probe, OWN, OTHER) == ["ns-1", "other-1"]
        service.now += SHARED / 5

    assert service.described == {"ns": described, "other": described}


async def test_a_namespace_created_again_or_changed_is_noticed_within_the_minute() -> None:
    service = Service()
    probe = service.probe()
    await short_pass(probe, OWN, OTHER)
    service.generation, service.retention = 2, 30 * DAY

    service.now += SHARED - 1
    assert await probe.retention() == DAY
    assert await short_pass(probe, OWN, OTHER) == ["ns-1", "other-1"]
    service.now += 1
    assert await probe.retention() == 30 * DAY
    assert await short_pass(probe, OWN, OTHER) == ["ns-2", "other-2"]
    assert await probe.observe(OTHER) == Missing(retention=30 * DAY)


async def test_a_description_made_while_connecting_counts() -> None:
    service = Service()
    described = Namespace("ns", DAY, frozenset(), archives_history=False, id="ns-0")
    probe = service.probe(described=described)

    for seconds, calls in ((0, 0), (SHARED - 1, 0), (1, 1)):
        service.now += seconds
        await probe.retention()
        assert service.described["ns"] == calls


async def test_a_namespace_that_cannot_be_described_is_not_taken_as_known() -> None:
    service = Service()
    probe = service.probe()
    await probe.retention()
    service.now += SHARED
    service.trouble = REFUSED

    for _ in range(2):
        with pytest.raises(TemporalUnusable):
            await probe.retention()
    service.trouble, service.generation = None, 2

    assert await short_pass(probe, OWN) == ["ns-2"]


async def test_another_namespace_that_is_unusable_is_asked_about_once_a_minute() -> None:
    service = Service()
    probe = service.probe()
    await probe.retention()
    service.trouble = REFUSED

    for _ in range(3):
        await probe.retention()
        assert isinstance(await probe.observe(OTHER), Unknown)
    assert service.described["other"] == 1

    service.trouble = None
    service.now += SHARED
    await probe.retention()
    assert isinstance(await probe.observe(OTHER), Missing)


async def test_stuck_workflows_take_less_time_for_a_minute_but_do_not_add_up() -> None:
    service = Service()
    probe = service.probe()
    service.hangs = True
    for _ in range(MAX_UNANSWERED + 1):
        await short_pass(probe, OWN)
        service.now -= HUNG_SECONDS * 2

    assert service.timeouts[: 2 * WARY] == [RPC_TIMEOUT] * 2 * WARY
    assert service.timeouts[-2] == BRIEF_TIMEOUT

    service.hangs = False
    service.now += SHARED
    await short_pass(probe, OWN)
    assert service.timeouts[-1] == RPC_TIMEOUT
