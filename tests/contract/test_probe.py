"""What every `Probe` promises, over the fake and over Temporal."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Missing, Open, RunRow, Unasked
from reconciler.core.ports import Probe
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.fakes import ScriptedProbe

OPEN = f"open-{uuid4().hex}"
#: When the row of every test was created: a workflow may start up to an hour later.
CREATED = datetime.now(UTC)


def row(workflow_id: str) -> RunRow:
    return RunRow(1, workflow_id, None, CREATED)


def probe_of(client: Client) -> Probe:
    return NamespacesProbe(Rpc(client, RateLimiter(0)))


@pytest.fixture
def fake_probe() -> Probe:
    return ScriptedProbe({OPEN: Open()})


@pytest.fixture
async def real_probe(temporal: Client) -> Probe:
    with contextlib.suppress(WorkflowAlreadyStartedError):
        await temporal.start_workflow("Any", id=OPEN, task_queue=f"none-{OPEN}")
    return probe_of(temporal)


@pytest.fixture
def lost_fake_probe() -> Probe:
    return ScriptedProbe({OPEN: TemporalUnusable("no such namespace")})


@pytest.fixture
def lost_real_probe(temporal: Client) -> Probe:
    return probe_of(Client(temporal.service_client, namespace="no-such-namespace"))


@pytest.fixture(params=["fake_probe", "real_probe"])
def probe(request: pytest.FixtureRequest) -> Probe:
    probe: Probe = request.getfixturevalue(request.param)
    return probe


@pytest.fixture(params=["lost_fake_probe", "lost_real_probe"])
def lost_probe(request: pytest.FixtureRequest) -> Probe:
    """One that cannot use its Temporal."""
    probe: Probe = request.getfixturevalue(request.param)
    return probe


async def test_distinguishes_open_from_missing(probe: Probe) -> None:
    assert await probe.observe(row(OPEN)) == Open("RUNNING")
    assert isinstance(await probe.observe(row("never-started")), Missing)


async def test_asks_nothing_about_a_row_without_a_workflow_id(probe: Probe) -> None:
    before = dict(probe.rpcs())

    assert await probe.observe(row("")) == Unasked()
    assert probe.rpcs() == before


async def test_counts_its_calls(probe: Probe) -> None:
    before = dict(probe.rpcs())

    await probe.observe(row("never-started"))

    assert probe.rpcs()["describe"] - before.get("describe", 0) == 1


async def test_raises_what_ends_the_pass(lost_probe: Probe) -> None:
    with pytest.raises(TemporalUnusable):
        await lost_probe.observe(row(OPEN))
