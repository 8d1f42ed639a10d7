"""Problems during the write must not change how a workflow ends, nor hold it open for long."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.common import RetryPolicy
from temporalio.worker import (
    ExecuteWorkflowInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from temporalio.worker import Interceptor as WorkerInterceptor

from reconciler.core.model import Closed, CloseStatus
from reconciler.postgres.connection.engine import open_engine
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.worker import ReconcilerPlugin, reporter
from reconciler.worker.database import writer
from reconciler.worker.report import ACTIVITY
from reconciler.worker.tables import Tables
from tests.integration.worker.conftest import Site, locked_rows, waiting
from tests.support.polling import PATIENCE, eventually
from tests.support.temporal.cancelling import cancel

ENDS = [
    pytest.param("complete", CloseStatus.COMPLETED, id="completed"),
    pytest.param("fail", CloseStatus.FAILED, id="failed"),
]


async def held(site: Site, closed: Closed) -> timedelta:
    """How long the report held the workflow open, by the server's clock."""
    (reported,) = await site.report_events()
    return closed.close_time - to_datetime(reported.event_time)


@pytest.mark.parametrize(("script", "status"), ENDS)
async def test_a_database_that_is_down(site: Site, script: str, status: CloseStatus) -> None:
    engine = open_engine("postgresql://app@127.0.0.1:1/app")
    async with site.worker(ReconcilerPlugin(engine)):
        closed = await site.closed(await site.start(script))

    assert closed.status is status
    assert await held(site, closed) < reporter.LONGEST_HOLD
    assert await attempts(site) == reporter.RETRIES.maximum_attempts
    assert await site.outcome() == ("running", None)


async def test_a_table_without_the_columns_is_tried_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise it may already have found out, and the workflow does not report.
    monkeypatch.setattr(Tables, "watch", AsyncMock())
    await site.database.execute("ALTER TABLE workflow_executions DROP error_message")
    async with site.worker():
        closed = await site.closed(await site.start("complete"))

    assert closed.status is CloseStatus.COMPLETED
    assert await attempts(site) == 1


async def attempts(site: Site) -> int:
    """How often the last activity of the workflow was tried."""
    started = [event.activity_task_started_event_attributes for event in await site.events()]
    return max(each.attempt for each in started)


@pytest.mark.parametrize(("script", "status"), ENDS)
async def test_a_database_that_hangs(
    site: Site, monkeypatch: pytest.MonkeyPatch, script: str, status: CloseStatus
) -> None:
    monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.2)
    async with site.worker():
        handle = await site.start("wait")  # so that the table is there to lock
        await handle.terminate()
        await site.database.execute("DELETE FROM workflow_executions")
        handle = await site.start(script)
        async with locked_rows(site.database):
            closed = await site.closed(handle)

    assert closed.status is status
    assert await site.outcome() in [("running", None), (status.value.lower(), closed.failure)]


async def test_an_activity_that_no_worker_takes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "LONGEST_HOLD", timedelta(seconds=1))
    async with site.worker(ReconcilerPlugin(site.database.engine, task_queue="no-worker")):
        closed = await site.closed(await site.start("complete"))

    assert closed.status is CloseStatus.COMPLETED
    assert await site.outcome() == ("running", None)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("cache", [1000, 0])
@pytest.mark.parametrize(("script", "status"), ENDS)
async def test_a_cancellation_during_the_write_does_not_lose_it(
    site: Site, script: str, status: CloseStatus, cache: int
) -> None:
    # The row is inserted before the worker starts, and so before the workflow's first task.
    handle = await site.start(script)
    async with locked_rows(site.database) as rows, site.worker(max_cached_workflows=cache):
        await eventually(lambda: waiting(site))
        await cancel(handle, "too late")
        await eventually(lambda: cancellation_was_seen(site))
        await rows.release()
        closed = await site.closed(handle)

    assert closed.status is status
    assert await site.outcome() == (status.value.lower(), closed.failure)
    assert await site.reports() == 1


class Counting(ClientInterceptor, WorkerInterceptor):
    """The outermost interceptor: returns the number of unhandled cancellations."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                await self.next.execute_workflow(input)
                task = asyncio.current_task()
                return task and task.cancelling()

        return Inbound


@pytest.mark.usefixtures("unhurried")
async def test_a_cancellation_during_the_write_is_handled(site: Site) -> None:
    # Otherwise a timeout in code around the plugin would take it for its own.
    config = site.client.config()
    config["interceptors"] = [Counting()]
    site.client = Client(**config)
    handle = await site.start("complete")
    async with locked_rows(site.database) as rows, site.worker():
        await eventually(lambda: waiting(site))
        await cancel(handle, "too late")
        await eventually(lambda: cancellation_was_seen(site))
        await rows.release()
        assert await handle.result() == 0


async def cancellation_was_seen(site: Site) -> bool:
    """Whether a workflow task has run since the cancellation."""
    names = [event.WhichOneof("attributes") for event in await site.events()]
    requested = "workflow_execution_cancel_requested_event_attributes"
    completed = "workflow_task_completed_event_attributes"
    return requested in names and completed in names[names.index(requested) :]


@pytest.mark.usefixtures("unhurried")
async def test_a_worker_that_stops_during_the_write(site: Site) -> None:
    handle = await site.start("complete")
    async with locked_rows(site.database), site.worker():
        await eventually(lambda: waiting(site))
    async with site.worker():
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.COMPLETED
    assert await site.outcome() == ("completed", None)


async def test_a_row_that_is_inserted_after_the_end(site: Site) -> None:
    async with site.worker():
        handle = await site.client.start_workflow(
            "Scripted",
            args=["complete", "text"],
            id=site.workflow_id,
            task_queue=site.task_queue,
        )
        assert await asyncio.wait_for(handle.result(), PATIENCE) == "text"

    await site.database.insert(site.workflow_id)
    assert await site.outcome() == ("running", None)


@pytest.mark.usefixtures("unhurried")
async def test_a_signal_during_the_write_is_still_handled(site: Site) -> None:
    handle = await site.start("complete")
    async with locked_rows(site.database) as rows, site.worker():
        await eventually(lambda: waiting(site))
        await handle.signal("release")
        assert await handle.query("is_released") is True
        await rows.release()
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.COMPLETED
    assert await site.outcome() == ("completed", None)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("cache", [1000, 0])
@pytest.mark.parametrize("signal", ["fail", "start_over"])
async def test_a_signal_during_the_write_does_not_decide_the_end(
    site: Site, signal: str, cache: int
) -> None:
    handle = await site.start("complete")
    async with locked_rows(site.database) as rows, site.worker(max_cached_workflows=cache):
        await eventually(lambda: waiting(site))
        await handle.signal(signal)
        assert await handle.query("is_released") is False  # the signal has been handled
        await rows.release()
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.COMPLETED
    assert closed.run_id == handle.first_execution_run_id
    assert await site.outcome() == ("completed", None)


class TestTimeoutsOfTheWorkflow:
    """A slow report must not make a workflow time out."""

    @pytest.mark.parametrize("timeout", ["run_timeout", "execution_timeout"])
    async def test_an_activity_that_no_worker_takes(
        self, site: Site, timeout: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "SHORTEST_HOLD", timedelta(seconds=1))
        options: dict[str, Any] = {timeout: timedelta(seconds=12)}
        async with site.worker(ReconcilerPlugin(site.database.engine, task_queue="no-worker")):
            closed = await site.closed(await site.start("complete", **options))

        assert closed.status is CloseStatus.COMPLETED
        assert await site.reports() == 1

    async def test_no_report_if_there_is_no_time(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "SHORTEST_HOLD", timedelta(minutes=1))
        async with site.worker():
            handle = await site.start("complete", run_timeout=timedelta(minutes=2))
            closed = await site.closed(handle)

        assert closed.status is CloseStatus.COMPLETED
        assert await site.reports() == 0

    async def test_no_report_in_the_last_ten_seconds(self, site: Site) -> None:
        async with site.worker():
            await site.closed(await site.start("complete", run_timeout=timedelta(seconds=9.9)))

        assert await site.reports() == 0

    @pytest.mark.parametrize("script", ["continue once", "fail until the third attempt"])
    @pytest.mark.parametrize(("timeout", "reports"), [("run_timeout", 1), ("execution_timeout", 0)])
    async def test_no_report_by_a_later_run_with_an_execution_timeout(
        self, site: Site, script: str, timeout: str, reports: int
    ) -> None:
        options: dict[str, Any] = {timeout: timedelta(hours=1)}
        if script != "continue once":
            options["retry_policy"] = RetryPolicy(initial_interval=timedelta(milliseconds=1))
        async with site.worker():
            closed = await site.closed(await site.start(script, **options))

        assert closed.status is CloseStatus.COMPLETED
        assert await site.reports() == reports


@pytest.mark.parametrize("returned", ["ok", {"rows": 1}, None, 1])
async def test_an_activity_of_the_same_name_that_returns_something_else(
    site: Site, returned: object
) -> None:
    @activity.defn(name=ACTIVITY)
    async def other_activity(*_: object) -> object:
        return returned

    queue = f"{site.task_queue}-activities"
    async with (
        site.worker(ReconcilerPlugin(task_queue=queue)),
        Worker(site.client, task_queue=queue, activities=[other_activity]),
    ):
        closed = await site.closed(await site.start("complete"))

    assert closed.status is CloseStatus.COMPLETED


@pytest.mark.recent_sdk
@pytest.mark.parametrize("failures", [[], [Exception]])
async def test_a_patch_callback_that_fails(site: Site, failures: list[type[Exception]]) -> None:
    def activates(_: object) -> bool:
        raise KeyError("which patch?")

    async with site.worker(
        patch_activation_callback=activates, workflow_failure_exception_types=failures
    ):
        closed = await site.closed(await site.start("complete"))

    assert closed.status is CloseStatus.COMPLETED
    assert await site.outcome() == ("running", None)
