"""A row is written only by the end of its chain, and only while it is running."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy

from reconciler.core.model import Finish
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.worker import ReconcilerPlugin
from reconciler.worker.after_close import backlog
from reconciler.worker.after_close.finisher import Finisher
from reconciler.worker.after_close.notice import EndNotice
from reconciler.worker.database.sources import Sources
from tests.integration.worker.conftest import Site
from tests.support.histories.workflows import Order, pack
from tests.support.polling import PATIENCE, eventually
from tests.support.worker.workflows import graded

SLOWLY = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(seconds=PATIENCE))


def plugin(site: Site, **options: Any) -> ReconcilerPlugin:
    return ReconcilerPlugin(site.database.engine, report="after_close", **options)


def looking(site: Site) -> Finisher:
    """Another worker's finisher."""
    source = Sources(site.database.engine).of()
    writer = source.open()
    return Finisher(lambda: site.client, source, lambda: writer, RateLimiter(100))


def by_items(items: list[Any]) -> str:
    return "partly" if items else "completed"


@pytest.mark.parametrize(
    ("script", "options", "runs"),
    [
        ("continue, then wait", {}, 0),
        ("fail", {"retry_policy": SLOWLY}, 1),
        ("complete", {"cron_schedule": "@every 1s"}, 0),
        ("fail the task", {}, 0),
        ("wait", {}, 0),
    ],
)
async def test_a_run_that_does_not_end_its_chain(
    site: Site,
    notices: list[EndNotice],
    tries: list[EndNotice],
    script: str,
    options: dict[str, Any],
    runs: int,
) -> None:
    async with site.worker(plugin(site)):
        handle = await site.start(script, **options)
        first = site.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        await eventually(lambda: has_acted(first))

    assert len({notice.run_id for notice in notices}) == runs
    for notice in notices:
        assert await looking(site).look(notice) is None, "it is not looked at again"
    assert tries == []
    assert await site.outcome() == ("running", None)


async def has_acted(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).history_length >= 4


async def test_a_row_that_is_no_longer_running(site: Site, notices: list[EndNotice]) -> None:
    async with site.worker(plugin(site)):
        handle = await site.start("wait")
        await site.database.execute("UPDATE workflow_executions SET status = 'archived'")
        await handle.signal("release")
        await site.closed(handle)

    assert await site.outcome() == ("archived", None)
    finisher, (notice,) = looking(site), notices
    finish = await finisher.look(notice)
    assert isinstance(finish, Finish)
    assert await finisher.write(notice, finish) is True, "it is not looked for again"
    await site.database.execute("DELETE FROM workflow_executions")
    assert await finisher.write(notice, finish) is False


async def test_a_row_that_is_inserted_later(
    site: Site, monkeypatch: pytest.MonkeyPatch, tries: list[EndNotice]
) -> None:
    monkeypatch.setattr(backlog, "WRITES", (0.0, 0.05, PATIENCE))
    async with site.worker(plugin(site)):
        handle = await site.world.start("complete")
        await eventually(lambda: has_tried(tries, 2))
        await site.database.insert(site.workflow_id, handle.first_execution_run_id)

    assert (await site.row())["status"] == "completed", "a worker that stops tries once more"
    assert len(tries) == 3


async def test_the_row_of_the_next_use_of_the_id(
    site: Site, monkeypatch: pytest.MonkeyPatch, tries: list[EndNotice]
) -> None:
    monkeypatch.setattr(backlog, "WRITES", (0.0, 0.05, PATIENCE))
    async with site.worker(plugin(site)):
        await (await site.world.start("complete")).result()
        await eventually(lambda: has_tried(tries, 1))
        await site.database.insert(site.workflow_id)
        await site.world.start("wait")
        await eventually(lambda: has_tried(tries, 2))

    assert await site.outcome() == ("running", None)


async def test_rows_that_fit_equally_well(
    site: Site, caplog: pytest.LogCaptureFixture, tries: list[EndNotice]
) -> None:
    odd = replace(site, workflow_id=f"{site.workflow_id}: 50%d")
    for _ in range(2):
        await site.database.insert(odd.workflow_id)
    async with site.worker(plugin(site)):
        await odd.client.start_workflow(
            "Scripted", args=["complete", ""], id=odd.workflow_id, task_queue=odd.task_queue
        )
        await eventually(lambda: has_tried(tries, 1))

    (line,) = [each for each in caplog.messages if "in doubt" in each]
    assert line.endswith(f"(workflow {odd.workflow_id})")


async def has_tried(tries: list[EndNotice], times: int) -> bool:
    return len(tries) >= times


async def test_a_row_without_a_run_id_of_a_chain_of_several_runs(site: Site) -> None:
    await site.database.insert(site.workflow_id)
    async with site.worker(plugin(site)):
        await site.closed(await site.world.start("continue once"))

    assert await site.outcome() == ("completed", None)


class TestTheStatusForAResult:
    @pytest.mark.parametrize(
        ("result", "status"),
        [("well", "completed"), ("partly", "partly"), ("later", "running"), ("badly", "running")],
    )
    async def test_it_is_written(
        self, site: Site, caplog: pytest.LogCaptureFixture, result: str, status: str
    ) -> None:
        def of(result: str) -> str | None:
            if result == "badly":
                raise ValueError(result)
            return graded(result)

        async with site.worker(plugin(site, status_of=of)):
            await site.closed(await site.start("complete", result))

        assert await site.outcome() == (status, None)
        logged = sum("could not be written to its row" in line for line in caplog.messages)
        assert logged == (result == "badly")

    async def test_a_refused_end_does_not_count(self, site: Site, notices: list[EndNotice]) -> None:
        has_ended, may_go_on = threading.Event(), threading.Event()

        def of(items: list[Any]) -> str:
            has_ended.set()
            may_go_on.wait(1)
            return by_items(items)

        async with site.bare_worker(
            workflows=[Order], activities=[], plugins=[plugin(site, status_of=of)]
        ):
            handle = await site.start("return items", workflow="Order")
            await asyncio.to_thread(has_ended.wait, PATIENCE)
            await handle.signal("add", "book")
            may_go_on.set()
            await site.closed(handle)

        (refused,) = [
            event.workflow_task_failed_event_attributes.cause
            for event in await site.events()
            if event.HasField("workflow_task_failed_event_attributes")
        ]
        assert refused == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
        assert [notice.status for notice in notices] == ["completed", "partly"]
        assert await site.outcome() == ("partly", None)

        # The first notice may be on another worker, which does not know of the second.
        finisher = looking(site)
        first, last = notices
        assert await finisher.look(first) is None
        assert isinstance(await finisher.look(last), Finish)
        assert isinstance(await finisher.look(replace(first, is_graded=False)), Finish)

    async def test_of_a_workflow_that_ends_with_an_update(self, site: Site) -> None:
        async with site.bare_worker(
            workflows=[Order], activities=[], plugins=[plugin(site, status_of=by_items)]
        ):
            handle = await site.start("wait", workflow="Order")
            assert await handle.execute_update("put_and_finish", "book") == ["book"]

        assert await site.outcome() == ("partly", None)

    async def test_of_a_workflow_with_a_local_activity(self, site: Site) -> None:
        async with site.bare_worker(
            workflows=[Order],
            activities=[pack],
            plugins=[plugin(site, status_of=lambda _: "partly")],
        ):
            await site.closed(await site.start("pack here", "book", workflow="Order"))

        assert await site.outcome() == ("partly", None)


async def test_a_run_that_was_reset(site: Site, notices: list[EndNotice]) -> None:
    async with site.worker(plugin(site, only=["Typed"])):
        first = await site.start("complete")
        await site.closed(first)
        assert first.first_execution_run_id is not None
        await site.world.reset(first.first_execution_run_id)
        await site.closed(first)
    assert notices == []
    async with site.worker(plugin(site)):
        await site.world.reset(first.first_execution_run_id)
        closed = await site.closed(first)

    finisher = looking(site)
    (notice,) = notices
    assert notice.run_id == closed.run_id
    assert await finisher.look(replace(notice, run_id=first.first_execution_run_id)) is None
    assert (await site.row())["completed_at"] == closed.close_time
