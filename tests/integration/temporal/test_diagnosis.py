"""What is asked besides the descriptions of real workflows, and how their failures are decoded.

Why they are open: `test_stuck.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import regex
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from reconciler.core.model import Open, RunRow
from reconciler.core.redaction import Redaction
from reconciler.core.stuck.condition import Condition, Diagnosis, Reason
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.data_converter import DataConverterCodec
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.stuck.diagnosis import TemporalDiagnosis
from tests.support.network.codecs import sealing
from tests.support.polling import eventually
from tests.support.temporal.namespaces import new_namespace
from tests.support.temporal.workflows import Scripted, charge
from tests.support.temporal.world import World

#: Long enough for a task that no worker takes.
LATER = timedelta(minutes=3)


class Diagnosing:
    """A diagnosis over a real server, and the probe that describes rows for it."""

    def __init__(self, client: Client, decoder: FailureDecoder | None = None) -> None:
        self.rpc = Rpc(client, RateLimiter(0))
        self.probe = NamespacesProbe(self.rpc, decoder=decoder)
        redactor = Redactor(Redaction((regex.compile(r"\w+@\w+"),)), limit=500)
        self.diagnosis = TemporalDiagnosis(self.rpc, redactor, decoder)

    async def why(
        self, *handles: WorkflowHandle[Any, Any], after: timedelta = timedelta(0), **fields: Any
    ) -> Sequence[Condition | None]:
        """Their conditions, as if a while had passed; `fields`: of their rows."""
        rows = [World.row(handle, **fields) for handle in handles]
        seen = [(row, await self._evidence(row)) for row in rows]
        found = await self.diagnosis.diagnose(seen, datetime.now(UTC) + after, {})
        return [each.condition if isinstance(each, Diagnosis) else None for each in found]

    async def once_it_is(self, reason: Reason, handle: WorkflowHandle[Any, Any]) -> Condition:
        """The condition, once it has this reason."""
        found: list[Condition] = []

        async def is_it() -> bool:
            self.diagnosis.start_pass()
            found[:] = [each for each in await self.why(handle) if each and each.reason is reason]
            return bool(found)

        await eventually(is_it)
        return found[0]

    async def _evidence(self, row: RunRow) -> object:
        observed = await self.probe.observe(row)
        assert isinstance(observed, Open)
        return observed.evidence


@pytest.fixture
def diagnosing(temporal: Client) -> Diagnosing:
    return Diagnosing(temporal)


async def test_tasks_that_no_worker_takes(
    temporal: Client, workflow_id: str, diagnosing: Diagnosing
) -> None:
    nobody = f"nobody-{uuid4().hex}"
    handles = [
        await temporal.start_workflow("Any", id=f"{workflow_id}-{number}", task_queue=nobody)
        for number in range(3)
    ]
    try:
        soon = await diagnosing.why(*handles)
        late = await diagnosing.why(*handles, after=LATER)
    finally:
        for handle in handles:
            await handle.terminate()

    assert {each and each.reason for each in soon} == {Reason.WAITING}
    assert {each and each.reason for each in late} == {Reason.NO_WORKER}
    assert late[0] is not None
    assert late[0].text.startswith(f"task queue {nobody}: no worker polls for workflow tasks")
    assert diagnosing.rpc.counts["queue"] == 1


async def test_an_encrypted_failure_is_decoded(temporal: Client, workflow_id: str) -> None:
    converter = sealing()
    client = Client(temporal.service_client, namespace=temporal.namespace, data_converter=converter)
    queue = f"sealed-{uuid4().hex}"
    decoder = FailureDecoder(DataConverterCodec(converter), timeout=5)
    async with Worker(client, task_queue=queue, workflows=[Scripted], activities=[charge]):
        world = World(client, queue, workflow_id)
        handle = await world.start("retry an activity", "no money")
        plain = await Diagnosing(temporal).once_it_is(Reason.ACTIVITY_RETRYING, handle)
        found = await Diagnosing(temporal, decoder).once_it_is(Reason.ACTIVITY_RETRYING, handle)
        await handle.terminate()

    assert plain.text.startswith("charge: PaymentDeclined: Encoded failure")
    assert found.text.startswith("charge: PaymentDeclined: no money")


async def test_each_row_is_judged_in_the_namespace_that_it_names(
    temporal: Client, workflow_id: str, diagnosing: Diagnosing
) -> None:
    other = await new_namespace(temporal, "diagnosed")
    queue = f"nobody-{uuid4().hex}"
    handle = await other.start_workflow("Any", id=workflow_id, task_queue=queue)

    (found,) = await diagnosing.why(handle, after=LATER, namespace=other.namespace)

    assert found is not None
    assert found.reason is Reason.NO_WORKER
