"""Workers that must not do the work, and backfills that no worker can do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from reconciler.fleet.messages import WORKFLOW, Span, State
from reconciler.fleet.totals import no_counts
from tests.support.commands.fleet import SPEED, Fleet
from tests.support.factories import NOW
from tests.support.polling import eventually


async def why_it_failed(handle: WorkflowHandle[Any, Any]) -> str:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert "\n" not in failed.value.cause.message
    return failed.value.cause.message


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"table": "other"}, "this worker has another table, or other rows of it"),
        ({"namespace": "other", "mapping": {}}, "another namespace, another mapping of columns"),
        ({"policy": {"missing": "fail"}, "texts": ""}, "another policy, another redaction"),
        ({"database": {"database": "1"}}, "this worker has another database"),
        ({"target": "orders"}, "this worker has no target 'orders'"),
    ],
)
async def test_a_worker_that_differs_leaves_the_work_to_another(
    fleet: Fleet, changed: dict[str, Any], why: str
) -> None:
    async with fleet.worker() as worker:
        handle = await fleet.start(**changed)
        refused = await worker.said("work_refused")
        assert why in refused["why"]

        async def tried_again() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return any(each.attempt > 1 and why in each.last_failure.message for each in pending)

        await eventually(tried_again)
        assert len(worker.logged("work_refused")) == 1, "each attempt has its own line"
        assert not await fleet.stage.passes()
        await handle.terminate()


async def test_a_worker_without_a_journal_writes_nothing(fleet: Fleet) -> None:
    async with fleet.worker(RECONCILER_JOURNAL="off") as worker:
        handle = await fleet.start()
        refused = await worker.said("work_refused")
        await handle.terminate()

    assert refused["why"] == (
        "RECONCILER_JOURNAL is off on this worker, so its changes could not be undone"
    )
    assert not await fleet.stage.passes()


async def test_a_database_without_the_pass_is_another_one(fleet: Fleet) -> None:
    """Such as a copy of its files, which has the same identity."""
    state = State(NOW.isoformat(), 1, [Span(None, 1)], no_counts())
    async with fleet.worker() as worker:
        handle = await fleet.start(state=state)
        refused = await worker.said("work_refused")
        await handle.terminate()

    assert (
        refused["why"] == f"the database of this worker has no pass {handle.first_execution_run_id}"
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "the input is not one that this version of reconciler knows"),
        ([7], "Backfill: "),
        ([{}], "previewed: "),
        ([{"previewed": {"filter": "x"}}], "previewed.filter: unexpected keyword argument"),
    ],
)
async def test_an_input_that_it_does_not_know_fails_the_workflow(
    fleet: Fleet, given: list[Any], why: str
) -> None:
    async with fleet.worker():
        handle = await fleet.client.start_workflow(
            WORKFLOW, args=given, id=f"{fleet.stage.prefix}/bad", task_queue=fleet.task_queue
        )
        assert why in await why_it_failed(handle)


async def test_a_rate_below_a_call_per_second_for_each_range_fails_the_workflow(
    fleet: Fleet,
) -> None:
    async with fleet.worker():
        handle = await fleet.start(replace(SPEED, workers=4, max_rps=3))
        assert await why_it_failed(handle) == (
            "4 ranges at a time need at least 4 calls per second: raise RECONCILER_MAX_RPS, or "
            "distribute to fewer"
        )
    assert not await fleet.stage.passes()


async def test_a_plain_backfill_that_is_running_keeps_it_out(fleet: Fleet) -> None:
    await fleet.stage.database.execute(
        "INSERT INTO reconciler.lease (table_name, namespace, holder, epoch, expires_at) VALUES"
        " ('workflow_executions (backfill)', 'default', 'another', 1,"
        " clock_timestamp() + interval '14 s')"
    )
    limits = {"reconciler.fleet.activities.PATIENCE": 0.5}
    fleet.command = replace(fleet.command, limits=limits)
    async with fleet.worker():
        handle = await fleet.start()
        assert "is already running elsewhere" in await why_it_failed(handle)
    assert not await fleet.stage.passes()
