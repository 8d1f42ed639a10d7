"""Chains of runs: the row has the first run, and the chain's last run decides.

Open, done, and with the workflow id reused by an unrelated chain.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy

from reconciler.core.model import Closed, CloseStatus, Missing, Open, RunRow, Unknown
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.observe import probe as probe_module
from reconciler.temporal.observe.probe import TemporalProbe
from tests.support.polling import eventually
from tests.support.temporal.world import World

THRICE = RetryPolicy(
    maximum_attempts=3, initial_interval=timedelta(milliseconds=100), backoff_coefficient=1
)


async def reuse_id(world: World, script: str = "wait") -> WorkflowHandle[Any, Any]:
    """Start another chain of the same workflow id."""
    return await world.start(script, "another use")


async def current_run(world: World) -> str:
    return (await world.describe()).workflow_execution_info.execution.run_id


async def on_next_run(world: World, first: str) -> str:
    async def moved() -> bool:
        return await current_run(world) != first

    await eventually(moved)
    return await current_run(world)


def first_run(of: RunRow) -> str:
    assert of.run_id is not None
    return of.run_id


class TestContinueAsNew:
    async def test_open(self, world: World) -> None:
        of = world.row(await world.start("continue, then wait"))
        await on_next_run(world, first_run(of))

        assert await world.observe(of) == Open("RUNNING")

    async def test_done(self, world: World) -> None:
        of = await world.ended(await world.start("continue once"))
        last = await current_run(world)

        assert last != of.run_id
        assert await world.observe(of) == Closed(
            CloseStatus.COMPLETED, await world.close_time(last), last, workflow_type="Scripted"
        )

    async def test_id_reused(self, world: World) -> None:
        of = await world.ended(await world.start("continue once"))
        last = await current_run(world)
        await reuse_id(world)

        assert await world.observe(of) == Closed(
            CloseStatus.COMPLETED, await world.close_time(last), last, workflow_type="Scripted"
        )

    async def test_a_row_with_a_run_from_the_middle(self, world: World) -> None:
        handle = await world.start("continue, then wait")
        middle = await on_next_run(world, first_run(world.row(handle)))
        await handle.signal("release")
        of = await world.ended(handle)
        expected = await world.observe(of)
        await reuse_id(world)

        observed = await world.observe(world.row(handle, run_id=middle))

        assert observed == expected
        assert isinstance(observed, Closed)

    async def test_the_walk_of_a_chain_is_bounded(self, world: World, monkeypatch: Any) -> None:
        of = await world.ended(await world.start("continue once"))
        await reuse_id(world)
        monkeypatch.setattr(probe_module, "MAX_HOPS", 1)

        assert isinstance(await world.observe(of), Unknown)


class TestRetryPolicy:
    async def test_pending(self, world: World) -> None:
        slow = RetryPolicy(initial_interval=timedelta(minutes=1))
        of = world.row(await world.start("fail until the third attempt", retry_policy=slow))
        await on_next_run(world, first_run(of))

        assert await world.observe(of) == Open("RUNNING")

    async def test_succeeded(self, world: World) -> None:
        of = await world.ended(
            await world.start("fail until the third attempt", retry_policy=THRICE)
        )

        assert await world.observe(of) == Closed(
            CloseStatus.COMPLETED,
            await world.close_time(),
            await current_run(world),
            workflow_type="Scripted",
        )

    async def test_the_close_event_of_an_attempt_is_the_true_one(self, world: World) -> None:
        """Other clients may get a synthetic CONTINUED_AS_NEW instead."""
        of = await world.ended(
            await world.start("fail until the third attempt", retry_policy=THRICE)
        )

        event = await world.rpc.close_event(world.workflow_id, first_run(of))

        assert event.HasField("workflow_execution_failed_event_attributes")

    async def test_exhausted(self, world: World) -> None:
        of = await world.ended(await world.start("fail", "no money", retry_policy=THRICE))

        assert await world.observe(of) == Closed(
            CloseStatus.FAILED,
            await world.close_time(),
            await current_run(world),
            "OrderFailed: no money",
            workflow_type="Scripted",
        )

    async def test_id_reused(self, world: World) -> None:
        of = await world.ended(await world.start("fail", "no money", retry_policy=THRICE))
        last = await current_run(world)
        await reuse_id(world)

        assert await world.observe(of) == Closed(
            CloseStatus.FAILED,
            await world.close_time(last),
            last,
            "OrderFailed: no money",
            workflow_type="Scripted",
        )


class TestCron:
    async def test_open(self, world: World) -> None:
        of = world.row(await world.start("complete", cron_schedule="@every 1s"))
        await on_next_run(world, first_run(of))

        assert await world.observe(of) == Open("RUNNING")

    async def test_terminated(self, world: World) -> None:
        handle = await world.start("complete", cron_schedule="@every 1s")
        of = world.row(handle)
        await on_next_run(world, first_run(of))
        # By id alone: the handle's own run has ended.
        await world.client.get_workflow_handle(handle.id).terminate(reason="ticket 42")

        observed = await world.observe(of)

        assert isinstance(observed, Closed)
        assert observed.status is CloseStatus.TERMINATED
        assert observed.close_time == await world.close_time()

    async def test_terminated_and_id_reused(self, world: World) -> None:
        handle = await world.start("complete", cron_schedule="@every 1s")
        of = world.row(handle)
        await on_next_run(world, first_run(of))
        await world.client.get_workflow_handle(handle.id).terminate(reason="ticket 42")
        expected = await world.observe(of)
        await reuse_id(world)

        assert await world.observe(of) == expected
        assert isinstance(expected, Closed)
        assert expected.status is CloseStatus.TERMINATED
        assert expected.run_id != of.run_id


class TestReset:
    async def test_of_a_closed_run_is_open_again(self, world: World) -> None:
        handle = await world.start("wait")
        await world.first_task_done()
        await handle.terminate()
        of = await world.ended(handle)
        await world.reset(first_run(of))

        assert await world.observe(of) == Open("RUNNING")

    async def test_of_a_running_run_is_open(self, world: World) -> None:
        of = world.row(await world.start("wait"))
        await world.first_task_done()
        await world.reset(first_run(of))

        assert await world.observe(of) == Open("RUNNING")

    async def test_done(self, world: World) -> None:
        handle = await world.start("wait")
        await world.first_task_done()
        last = await world.reset(first_run(world.row(handle)))
        await world.client.get_workflow_handle(handle.id).signal("release")
        of = await world.ended(handle)

        assert await world.observe(of) == Closed(
            CloseStatus.COMPLETED, await world.close_time(), last, workflow_type="Scripted"
        )

    async def test_done_and_id_reused(self, world: World) -> None:
        handle = await world.start("wait")
        await world.first_task_done()
        last = await world.reset(first_run(world.row(handle)))
        await world.client.get_workflow_handle(handle.id).signal("release")
        of = await world.ended(handle)
        await reuse_id(world)

        assert await world.observe(of) == Closed(
            CloseStatus.COMPLETED, await world.close_time(last), last, workflow_type="Scripted"
        )


class TestReusedId:
    async def test_the_row_of_the_first_use_gets_the_first_end(self, world: World) -> None:
        of = await world.ended(await world.start("fail", "no money"))
        later = await reuse_id(world)

        assert await world.observe(of) == Closed(
            CloseStatus.FAILED,
            await world.close_time(first_run(of)),
            first_run(of),
            "OrderFailed: no money",
            workflow_type="Scripted",
        )
        assert await world.observe(world.row(later)) == Open("RUNNING")

    async def test_terminated_by_the_later_start(self, world: World) -> None:
        of = world.row(await world.start("wait"))
        later = await world.start(
            "wait", id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING
        )

        observed = await world.observe(of)

        assert isinstance(observed, Closed)
        assert observed.status is CloseStatus.TERMINATED
        assert observed.run_id == of.run_id
        assert await world.observe(world.row(later)) == Open("RUNNING")

    async def test_the_older_run_is_found_when_the_current_one_was_deleted(
        self, world: World
    ) -> None:
        of = await world.ended(await world.start("complete"))
        expected = await world.observe(of)
        later = await reuse_id(world, "complete")
        await world.ended(later)
        await world.delete(first_run(world.row(later)))

        observed = await world.observe(of)

        assert observed == expected
        assert isinstance(observed, Closed)


class TestRowsWithoutRunId:
    async def test_open(self, world: World) -> None:
        of = world.row(await world.start("wait"), run_id=None)

        assert await world.observe(of) == Open("RUNNING")

    async def test_done_after_continue_as_new(self, world: World) -> None:
        handle = await world.start("continue once")
        await world.ended(handle)

        observed = await world.observe(world.row(handle, run_id=None))

        assert isinstance(observed, Closed)
        assert observed.run_id == await current_run(world)

    @pytest.mark.parametrize("run_id", [None, ""])
    async def test_an_unrelated_use_of_the_id_is_not_the_rows_own(
        self, world: World, run_id: str | None
    ) -> None:
        handle = await world.start("complete")
        await world.ended(handle)
        earlier = datetime.now(UTC) - timedelta(minutes=2)
        of = world.row(handle, run_id=run_id, created_at=earlier)

        assert await world.observe(of) == Missing("workflow id reused", id_in_use=True)

    async def test_a_later_row_does_not_get_the_end_of_an_earlier_use(self, world: World) -> None:
        handle = await world.start("complete")
        await world.ended(handle)
        later = datetime.now(UTC) + timedelta(seconds=30)

        observed = await world.observe(world.row(handle, run_id=None, created_at=later))

        assert observed == Missing("workflow id reused", id_in_use=True)

    async def test_two_uses_in_a_row_are_indistinguishable(self, world: World) -> None:
        first = await world.start("fail")
        of = world.row(first, run_id=None)
        await world.ended(first)
        second = await world.start("complete")
        await world.ended(second)

        async def in_doubt() -> bool:  # visibility lags a little
            return isinstance(await world.observe(of), Unknown)

        await eventually(in_doubt)

    async def test_the_start_of_the_chain_counts_rather_than_that_of_its_last_run(
        self, world: World
    ) -> None:
        handle = await world.start("complete", cron_schedule="@every 1s")
        first = first_run(world.row(handle))
        second = await on_next_run(world, first)
        await on_next_run(world, second)
        started = to_datetime((await world.describe(first)).workflow_execution_info.start_time)
        probe = TemporalProbe(world.rpc, start_delay=timedelta(seconds=0.5))

        observed = await probe.observe(world.row(handle, run_id=None, created_at=started))

        assert observed == Open("RUNNING")

    async def test_without_a_creation_time_the_row_is_unknown(self, world: World) -> None:
        of = world.row(await world.start("wait"), run_id=None, created_at=None)

        assert isinstance(await world.observe(of), Unknown)
