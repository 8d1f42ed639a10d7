"""Chains of runs: the row has the first run, and the chain's last run decides.

Open, done, and with the workflow id reused by an unrelated chain.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy

from reconciler.core.model import Closed, CloseStatus, Leave, Open, RunRow, Unknown, Verdict
from reconciler.passes.judging import judge
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.observe import probe as probe_module
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import policy
from tests.support.fakes import MemoryStore
from tests.support.polling import eventually
from tests.support.temporal.world import World

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
THRICE = RetryPolicy(
    maximum_attempts=3, initial_interval=timedelta(milliseconds=100), backoff_coefficient=1
)


async def judged(world: World, of: RunRow, closed_at: datetime | None = None) -> str:
    """The status that a pass would write, or why it leaves the row; waits for visibility."""
    verdict: Verdict

    async def is_shown() -> bool:
        nonlocal verdict
        probe, now = NamespacesProbe(world.rpc), datetime.now(UTC) + MINUTE
        observed = await probe.observe(of)
        if closed_at is not None and isinstance(observed, Closed):
            observed = replace(observed, close_time=closed_at)
        rules = policy(grace=timedelta())
        (verdict,) = await judge(MemoryStore(), probe, [(of, observed)], rules, now)
        lags = isinstance(verdict, Leave) and (verdict.detail or "").endswith(" yet")
        return not (lags or isinstance(observed, Open))

    await eventually(is_shown)
    return verdict.reason if isinstance(verdict, Leave) else verdict.outcome.status


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
            CloseStatus.COMPLETED,
            await world.close_time(last),
            last,
            workflow_type="Scripted",
            id_in_use=True,
        )

    async def test_a_row_with_a_run_from_the_middle(self, world: World) -> None:
        handle = await world.start("continue, then wait")
        middle = await on_next_run(world, first_run(world.row(handle)))
        await handle.signal("release")
        of = await world.ended(handle)
        expected = await world.observe(of)
        await reuse_id(world)

        observed = await world.observe(world.row(handle, run_id=middle))

        assert isinstance(expected, Closed)
        assert observed == replace(expected, id_in_use=True)

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
            id_in_use=True,
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

        assert isinstance(expected, Closed)
        assert await world.observe(of) == replace(expected, id_in_use=True)
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
            CloseStatus.COMPLETED,
            await world.close_time(last),
            last,
            workflow_type="Scripted",
            id_in_use=True,
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
            id_in_use=True,
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
    @pytest.mark.parametrize("offset", [-20 * HOUR, -10 * MINUTE, timedelta()])
    async def test_a_use_that_started_at_or_after_the_creation_is_the_rows_own(
        self, world: World, run_id: str | None, offset: timedelta
    ) -> None:
        handle = await world.start("fail", "no money")
        await world.ended(handle)
        of = world.row(handle, run_id=run_id, created_at=datetime.now(UTC) + offset)

        assert await judged(world, of) == "failed"

    @pytest.mark.parametrize("script", ["wait", "continue, then wait"])
    async def test_a_use_that_was_open_when_the_row_was_created_is_its_own(
        self, world: World, script: str
    ) -> None:
        handle = await world.start(script)
        await world.first_task_done()
        of = world.row(handle, run_id=None)
        await world.client.get_workflow_handle(handle.id).terminate()

        assert await judged(world, of) == "failed"

    async def test_a_later_row_does_not_get_the_end_of_an_earlier_use(self, world: World) -> None:
        handle = await world.start("complete")
        await world.ended(handle)
        later = datetime.now(UTC) + timedelta(seconds=30)

        assert await judged(world, world.row(handle, run_id=None, created_at=later)) == (
            "never_started"
        )

    async def test_of_two_uses_since_the_creation_none_is(self, world: World) -> None:
        first = await world.start("fail")
        of = world.row(first, run_id=None, created_at=datetime.now(UTC) - 10 * MINUTE)
        await world.ended(first)
        await world.ended(await world.start("complete"))

        assert await judged(world, of) == "unknown"

    async def test_a_use_before_the_creation_does_not_matter(self, world: World) -> None:
        await world.ended(await world.start("fail"))
        second = await world.start("complete")
        await world.ended(second)
        started = to_datetime((await world.describe()).workflow_execution_info.start_time)
        of = world.row(second, run_id=None, created_at=started + timedelta(seconds=2))

        assert await judged(world, of, closed_at=started + MINUTE) == "completed"

    @pytest.mark.parametrize(
        "options",
        [
            {"script": "continue once"},
            {"script": "fail until the third attempt", "retry_policy": THRICE},
        ],
    )
    async def test_a_chain_is_one_use(self, world: World, options: dict[str, Any]) -> None:
        handle = await world.start(**options)
        of = world.row(handle, run_id=None, created_at=datetime.now(UTC) - 10 * MINUTE)
        await world.ended(handle)

        assert await judged(world, of) == "completed"

    async def test_a_cron_workflow_is_one_use(self, world: World) -> None:
        handle = await world.start("complete", cron_schedule="@every 1s")
        of = world.row(handle, run_id=None, created_at=datetime.now(UTC) - 10 * MINUTE)
        second = await on_next_run(world, first_run(world.row(handle)))
        await on_next_run(world, second)
        await world.client.get_workflow_handle(handle.id).terminate()

        assert await judged(world, of) == "failed"

    @pytest.mark.parametrize("closed", [True, False])
    async def test_a_use_that_was_reset_is_one_use(self, world: World, *, closed: bool) -> None:
        handle = await world.start("wait")
        of = world.row(handle, run_id=None, created_at=datetime.now(UTC) - 10 * MINUTE)
        await world.first_task_done()
        if closed:
            await handle.terminate()
        await world.reset(first_run(world.row(handle)))
        await world.client.get_workflow_handle(handle.id).signal("release")
        await world.ended(handle)

        assert await judged(world, of) == "completed"

    async def test_another_use_between_an_end_and_a_reset_leaves_doubt(self, world: World) -> None:
        handle = await world.start("wait")
        of = world.row(handle, run_id=None, created_at=datetime.now(UTC) - 10 * MINUTE)
        await world.first_task_done()
        await handle.terminate()
        await (await world.start("wait")).terminate()
        await world.reset(first_run(world.row(handle)))
        await world.client.get_workflow_handle(handle.id).signal("release")
        await world.ended(handle)

        assert await judged(world, of) == "unknown"

    async def test_without_a_creation_time_the_row_is_unknown(self, world: World) -> None:
        of = world.row(await world.start("wait"), run_id=None, created_at=None)

        assert isinstance(await world.observe(of), Unknown)
