"""Which row a workflow's later runs write, if rows have no run id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.testing import ActivityEnvironment

from reconciler.temporal.client.execution_info import to_datetime
from reconciler.worker import status_activity
from reconciler.worker.report import EndReport
from tests.integration.worker.conftest import Site
from tests.support.polling import eventually

#: How far after a run's start its next use's row is created.
AHEAD = timedelta(minutes=1)


async def started(site: Site, run_id: str | None = None) -> datetime:
    """When a run started, by default the current one."""
    return to_datetime((await site.world.describe(run_id or "")).workflow_execution_info.start_time)


async def two_rows(site: Site, first_run: str | None, later: datetime) -> None:
    """Insert one created when the chain started, and one that only fits a later run."""
    first = await started(site, first_run)
    await site.database.insert(site.workflow_id, created_at=first)
    await site.database.insert(site.workflow_id, created_at=first + (later - first) / 2 + AHEAD)


async def statuses(site: Site) -> Sequence[str]:
    return [row["status"] for row in await site.rows()]


async def waiting_in_its_second_run(site: Site) -> WorkflowHandle[Any, Any]:
    handle = await site.world.start("continue, then wait")
    await eventually(lambda: is_second(site, handle.first_execution_run_id))
    return handle


async def is_second(site: Site, first_run: str | None) -> bool:
    return (await site.world.describe()).workflow_execution_info.execution.run_id != first_run


async def test_after_a_continue_as_new(site: Site) -> None:
    async with site.worker():
        handle = await waiting_in_its_second_run(site)
        await two_rows(site, handle.first_execution_run_id, await started(site))
        await site.client.get_workflow_handle(site.workflow_id).signal("release")
        await site.closed(handle)

    assert await statuses(site) == ["completed", "running"]


async def test_after_a_retry(site: Site) -> None:
    handle = await site.world.start(
        "fail until the third attempt",
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=1),
    )
    first = await started(site)
    await two_rows(site, handle.first_execution_run_id, first + timedelta(seconds=1))
    async with site.worker():
        await site.closed(handle)

    assert await started(site) - first > timedelta(seconds=1)
    assert await statuses(site) == ["completed", "running"]


async def test_after_a_reset(site: Site) -> None:
    async with site.worker():
        handle = await site.world.start("wait")
        await handle.query("is_released")
        await site.world.reset(handle.first_execution_run_id or "")
        await two_rows(
            site, handle.first_execution_run_id, await started(site) + timedelta(seconds=1)
        )
        await site.client.get_workflow_handle(site.workflow_id).signal("release")
        await site.closed(handle)

    assert await statuses(site) == ["completed", "running"]


async def report(site: Site, own_run: str, *arguments: object) -> bool:
    """Call the activity as this run of the workflow."""
    environment = ActivityEnvironment(client=site.client)
    environment.info = replace(
        environment.info,
        workflow_id=site.workflow_id,
        workflow_run_id=own_run,
        scheduled_time=datetime.now(UTC),
    )
    changed: bool = await environment.run(status_activity(site.database.engine), *arguments)
    return changed


@pytest.mark.parametrize("how", ["by the plugin", "by hand", "without the run", "with a start"])
@pytest.mark.parametrize("later", [False, True])
async def test_the_row_is_the_same_whatever_the_activity_is_given(
    site: Site, how: str, later: bool
) -> None:
    async with site.worker():
        handle = await waiting_in_its_second_run(site)
    first_run, second = handle.first_execution_run_id or "", await started(site)
    await two_rows(site, first_run, second)
    own_start = second if later else await started(site, first_run)
    start = own_start.isoformat()
    given: dict[str, list[object]] = {
        "by the plugin": [EndReport(site.workflow_id, "COMPLETED", first_run, own_start).to_json()],
        "by hand": [site.workflow_id, "completed", None, first_run],
        "without the run": [site.workflow_id, "completed"],
        "with a start": [site.workflow_id, "completed", None, first_run, None, start],
    }
    own_run = (await site.world.describe()).workflow_execution_info.execution.run_id

    assert await report(site, own_run if later else first_run, *given[how]) is True
    assert await statuses(site) == ["completed", "running"]


async def test_no_row_is_written_if_temporal_no_longer_knows_the_first_run(site: Site) -> None:
    async with site.worker():
        handle = await waiting_in_its_second_run(site)
        await site.database.insert(site.workflow_id)
        await site.world.delete(handle.first_execution_run_id or "")
        await site.client.get_workflow_handle(site.workflow_id).signal("release")
        await site.client.get_workflow_handle(site.workflow_id).result()

    assert await statuses(site) == ["running"]


async def test_the_row_with_the_run_id_is_written_even_then(site: Site) -> None:
    async with site.worker():
        handle = await waiting_in_its_second_run(site)
        await site.database.insert(site.workflow_id, handle.first_execution_run_id)
        await site.world.delete(handle.first_execution_run_id or "")
        await site.client.get_workflow_handle(site.workflow_id).signal("release")
        await site.client.get_workflow_handle(site.workflow_id).result()

    assert await statuses(site) == ["completed"]
