"""Every way a workflow can end, or seem to: Temporal's description and the row."""

from __future__ import annotations

from datetime import timedelta
from inspect import signature
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from reconciler.core.model import CloseStatus, Open
from reconciler.temporal.client.execution_info import to_datetime
from tests.integration.worker.conftest import Site
from tests.support.crossed import crossed
from tests.support.polling import eventually
from tests.support.temporal.cancelling import cancel, canceled

#: Without a cache a workflow is evicted after each task, and replayed for the next one.
CACHES = [pytest.param(1000, id="cached"), pytest.param(0, id="evicted")]


CHARGE_FAILED = "activity charge failed (maximum attempts reached): PaymentDeclined: no money"


#: A script, the status it ends with, and the text.
ENDS = [
    pytest.param("complete", "completed", None),
    pytest.param("complete with a child", "completed", None),
    pytest.param("fail", "failed", "OrderFailed: no money"),
    pytest.param("fail in an activity", "failed", CHARGE_FAILED),
    pytest.param(
        "fail, wrapping an activity's failure",
        "failed",
        "OrderFailed: order 17: " + CHARGE_FAILED,
    ),
    pytest.param(
        "fail in a child",
        "failed",
        "child workflow Scripted [{id}/child] failed: " + CHARGE_FAILED,
    ),
    pytest.param(
        "time out in an activity",
        "failed",
        "activity charge failed (maximum attempts reached): start to close timeout",
    ),
    pytest.param("time out waiting", "failed", "TimeoutError: CancelledError"),
    pytest.param("cancel itself", "failed", "canceled: no money"),
    pytest.param(
        "cancel an activity of its own",
        "failed",
        "activity charge failed (cancel requested): canceled",
    ),
]


@pytest.mark.parametrize(("script", "status", "message", "cache"), crossed(ENDS, CACHES))
async def test_an_end_is_written(
    site: Site, script: str, status: str, message: str | None, cache: int
) -> None:
    async with site.worker(max_cached_workflows=cache):
        closed = await site.closed(await site.start(script))

    row = await site.row()
    assert row["status"] == status == closed.status.value.lower()
    assert row["error_message"] == closed.failure
    assert row["error_message"] == (message and message.format(id=site.workflow_id))
    (reported,) = await site.report_events()
    assert row["completed_at"] == to_datetime(reported.event_time) <= closed.close_time


@pytest.mark.parametrize(
    ("script", "reason", "message", "cache"),
    crossed(
        crossed(
            ["wait", "wait in an activity", "wait for a child"],
            [pytest.param("ticket 42", canceled("ticket 42")), pytest.param("", "canceled")],
        ),
        CACHES,
    ),
)
async def test_a_cancellation_is_written(
    site: Site, script: str, reason: str, message: str, cache: int
) -> None:
    async with site.worker(max_cached_workflows=cache):
        handle = await site.start(script)
        await site.world.first_task_done()
        await cancel(handle, reason)
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.CANCELED
    assert await site.outcome() == ("failed", message) == ("failed", closed.failure)


async def test_a_cancellation_before_the_first_task_is_written(site: Site) -> None:
    handle = await site.start("wait")
    await cancel(handle, "ticket 42")
    async with site.worker():
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.CANCELED
    assert await site.outcome() == ("failed", canceled("ticket 42"))


async def test_a_cancellation_that_the_workflow_survives(site: Site) -> None:
    async with site.worker():
        handle = await site.start("complete when cancelled")
        await site.world.first_task_done()
        await handle.cancel()
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.COMPLETED
    assert await site.outcome() == ("completed", None)


class TestFailureExceptionTypes:
    async def test_types_of_the_workflow(self, site: Site) -> None:
        async with site.worker():
            closed = await site.closed(await site.start("fail", workflow="Typed"))

        assert closed.status is CloseStatus.FAILED
        assert await site.outcome() == ("failed", "ValueError: no money")

    async def test_types_of_the_worker(self, site: Site) -> None:
        async with site.worker(workflow_failure_exception_types=[ValueError]):
            closed = await site.closed(await site.start("fail the task"))

        assert closed.status is CloseStatus.FAILED
        assert await site.outcome() == ("failed", "ValueError: no money")

    async def test_a_result_that_cannot_be_serialised(self, site: Site) -> None:
        async with site.worker(workflow_failure_exception_types=[TypeError]):
            closed = await site.closed(await site.start("return what cannot be serialised"))

        assert closed.status is CloseStatus.FAILED
        assert await site.outcome() == ("failed", closed.failure)
        assert str(closed.failure).startswith("TypeError: Object of type object is not JSON")


class TestChains:
    async def test_continue_as_new_is_written_once_at_the_end(self, site: Site) -> None:
        async with site.worker():
            handle = await site.start("continue once")
            closed = await site.closed(handle)

        first_run = str(handle.first_execution_run_id)
        assert first_run != closed.run_id
        assert await site.outcome() == ("completed", None)
        assert await site.reports(first_run, closed.run_id) == 1

    async def test_a_retried_attempt_is_not_an_end(self, site: Site) -> None:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
        async with site.worker():
            handle = await site.start("fail until the third attempt", retry_policy=policy)
            closed = await site.closed(handle)

        assert closed.status is CloseStatus.COMPLETED
        assert await site.outcome() == ("completed", None)
        assert await site.reports(str(handle.first_execution_run_id)) == 0

    @pytest.mark.parametrize(
        ("script", "policy"),
        [
            pytest.param("fail", {"maximum_attempts": 2}, id="attempts used up"),
            pytest.param("fail in an activity", {"maximum_attempts": 2}, id="in an activity"),
            pytest.param("fail for good", {}, id="not retryable"),
            pytest.param("fail", {"non_retryable_error_types": ["OrderFailed"]}, id="by type"),
        ],
    )
    async def test_the_last_attempt_is_an_end(
        self, site: Site, script: str, policy: dict[str, Any]
    ) -> None:
        retry_policy = RetryPolicy(initial_interval=timedelta(milliseconds=10), **policy)
        async with site.worker():
            handle = await site.start(script, retry_policy=retry_policy)
            closed = await site.closed(handle)

        assert closed.status is CloseStatus.FAILED
        assert await site.outcome() == ("failed", closed.failure)
        runs = {str(handle.first_execution_run_id), closed.run_id}
        assert len(runs) == policy.get("maximum_attempts", 1)
        assert await site.reports(*runs) == 1

    async def test_a_cancelled_workflow_is_not_retried(self, site: Site) -> None:
        async with site.worker():
            handle = await site.start("wait", retry_policy=RetryPolicy())
            await site.world.first_task_done()
            await handle.cancel()
            closed = await site.closed(handle)

        assert closed.status is CloseStatus.CANCELED
        assert await site.outcome() == ("failed", "canceled")

    @pytest.mark.parametrize("script", ["complete", "fail"])
    async def test_a_run_of_a_cron_workflow_is_not_an_end(self, site: Site, script: str) -> None:
        async with site.worker():
            handle = await site.start(script, cron_schedule="@every 1s")
            await eventually(lambda: self.ticked(site, handle))
            await site.client.get_workflow_handle(handle.id).terminate()

        assert await site.outcome() == ("running", None)
        assert await site.reports(str(handle.first_execution_run_id)) == 0

    @staticmethod
    async def ticked(site: Site, handle: WorkflowHandle[Any, Any]) -> bool:
        current = (await site.world.describe()).workflow_execution_info.execution
        return current.run_id != handle.first_execution_run_id

    async def test_a_reset_run_writes_the_row_of_its_chain(self, site: Site) -> None:
        async with site.worker():
            handle = await site.start("wait")
            await site.world.first_task_done()
            await site.world.reset(str(handle.first_execution_run_id))
            await site.client.get_workflow_handle(handle.id).signal("release")
            closed = await site.closed(handle)

        assert closed.run_id != handle.first_execution_run_id
        assert await site.outcome() == ("completed", None)


class TestNothingIsWritten:
    """If it is not an end, or one that the workflow cannot see: the reconciler's job."""

    @pytest.mark.parametrize("script", ["fail the task", "return what cannot be serialised"])
    async def test_a_failed_workflow_task_is_not_an_end(self, site: Site, script: str) -> None:
        async with site.worker():
            handle = await site.start(script)
            await eventually(lambda: self.task_failed(site))

            assert await site.world.observe(site.world.row(handle)) == Open("RUNNING")
        assert await site.reports() == 0
        assert await site.outcome() == ("running", None)

    @staticmethod
    async def task_failed(site: Site) -> bool:
        return (await site.world.describe()).pending_workflow_task.attempt > 1

    @pytest.mark.parametrize("script", ["return much", "fail with much"])
    async def test_an_end_too_big_for_the_server(self, site: Site, script: str) -> None:
        # With older servers the SDK does not check the size; nor do older SDKs, without an option.
        option = "disable_payload_error_limit"
        options: dict[str, Any] = {option: True} if option in signature(Worker).parameters else {}
        async with site.worker(**options):
            closed = await site.closed(await site.start(script))

        assert closed.status is CloseStatus.TERMINATED
        assert await site.outcome() == ("running", None)

    async def test_a_report_contains_only_part_of_a_long_failure(self, site: Site) -> None:
        async with site.worker():
            await site.closed(await site.start("fail", "x" * 900_000))

        assert await site.outcome() == ("failed", "OrderFailed: " + "x" * 1986 + "…")
        (report,) = await site.report_events()
        assert report.activity_task_scheduled_event_attributes.input.ByteSize() < 200_000

    async def test_a_termination(self, site: Site) -> None:
        async with site.worker():
            handle = await site.start("wait")
            await site.world.first_task_done()
            await handle.terminate()

        assert await site.outcome() == ("running", None)

    @pytest.mark.parametrize("timeout", ["run_timeout", "execution_timeout"])
    async def test_a_timeout(self, site: Site, timeout: str) -> None:
        async with site.worker():
            options: dict[str, Any] = {timeout: timedelta(seconds=1)}
            handle = await site.start("wait", **options)
            closed = await site.closed(handle)

        assert closed.status is CloseStatus.TIMED_OUT
        assert await site.outcome() == ("running", None)

    async def test_a_failure_in_a_signal_handler(self, site: Site) -> None:
        # The SDK fails the workflow immediately; its function does not see it.
        async with site.worker():
            handle = await site.start("wait")
            await handle.signal("fail")
            closed = await site.closed(handle)

        assert closed.status is CloseStatus.FAILED
        assert await site.outcome() == ("running", None)
