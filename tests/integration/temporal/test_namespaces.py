"""A pass over rows of several namespaces, over one connection to a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle

from reconciler.core.model import LeaveReason, RunRow
from reconciler.core.policy import MissingPolicy
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.passes.reconcile import run_pass
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import policy
from tests.support.fakes import FakeHistory, MemoryStore
from tests.support.temporal.namespaces import new_namespace

#: Past the retention of the default namespace, and within that of the other.
AGE = timedelta(days=10)


@pytest.fixture(scope="module")
async def other(temporal: Client) -> Client:
    """A namespace with a retention of a month."""
    return await new_namespace(temporal, "keeping", timedelta(days=30))


async def terminated(client: Client, workflow_id: str) -> WorkflowHandle[object, object]:
    handle = await client.start_workflow(
        "Scripted", args=["wait", ""], id=workflow_id, task_queue="nobody"
    )
    await handle.terminate(reason=f"in {client.namespace}")
    return handle


def a_row(id_: int, of: WorkflowHandle[object, object] | str, namespace: str | None) -> RunRow:
    if isinstance(of, str):
        return RunRow(id_, of, str(uuid4()), datetime.now(UTC) - AGE, namespace)
    return RunRow(id_, of.id, of.first_execution_run_id, datetime.now(UTC) - AGE, namespace)


async def passed(temporal: Client, store: MemoryStore, missing: MissingPolicy) -> PassReport:
    probe = NamespacesProbe(Rpc(temporal, RateLimiter(0)))
    rules = policy(missing=missing)
    now = datetime.now(UTC)
    report = PassReport.begin(PassRequest("once"), now)
    return await run_pass(store, probe, FakeHistory(), [], rules, PassOptions(), now, report)


@pytest.mark.parametrize("missing", list(MissingPolicy))
async def test_each_row_is_reconciled_in_the_namespace_that_it_names(
    temporal: Client, other: Client, workflow_id: str, missing: MissingPolicy
) -> None:
    # The same workflow id in both: another chain with another end.
    here, there = await terminated(temporal, workflow_id), await terminated(other, workflow_id)
    store = MemoryStore(
        [
            a_row(1, here, None),
            a_row(2, there, other.namespace),
            a_row(3, here, "default"),
            a_row(4, here, "nowhere"),
            a_row(5, f"{workflow_id}-gone", "nowhere"),
            a_row(6, f"{workflow_id}-gone", other.namespace),
            a_row(7, f"{workflow_id}-gone", None),
            a_row(8, here, " "),
        ]
    )

    report = await passed(temporal, store, missing)

    ends = {id_: end.error_message or "" for id_, end in store.finished.items()}
    assert [ends[id_].partition(": ")[2] for id_ in (1, 2, 3)] == [
        "in default",
        f"in {other.namespace}",
        "in default",
    ]
    # No such namespace: nothing is written, whatever the policy.
    assert {4, 5, 8} <= store.running.keys()
    assert report.tally.left[LeaveReason.UNKNOWN] == 3
    assert report.outcome is PassOutcome.UNRESOLVED
    if missing is MissingPolicy.FAIL:
        assert ends[6] == "outcome unknown: deleted from Temporal", "kept for a month there"
        assert ends[7] == "outcome unknown: past Temporal's retention"
    else:
        assert report.tally.left[LeaveReason.DELETED] == report.tally.left[LeaveReason.EXPIRED] == 1


async def test_the_configured_namespace_must_exist(temporal: Client, other: Client) -> None:
    store = MemoryStore([a_row(1, "any", other.namespace)])

    report = await passed(
        Client(temporal.service_client, namespace="nowhere"), store, MissingPolicy.FAIL
    )

    assert report.outcome is PassOutcome.ABORTED
    assert "has no namespace 'nowhere': set TEMPORAL_NAMESPACE" in str(report.error)
