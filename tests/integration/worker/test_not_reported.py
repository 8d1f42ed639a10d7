"""Ends that are left to the reconciler: by option, not accepted by the server, or in doubt."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner

from reconciler.core.model import CloseStatus
from reconciler.demo.servers import temporal_server
from reconciler.worker import ReconcilerPlugin, ending
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.support.polling import eventually
from tests.support.worker.odd import WORKFLOWS

HANDLERS = [
    "WithSignal",
    "WithUpdate",
    "WithDynamicSignal",
    "WithDynamicUpdate",
    "Inheriting",
    "SettingAHandler",
]


async def run(
    site: Site, workflow: str, args: Sequence[Any] = (), **options: Any
) -> WorkflowHandle[Any, Any]:
    row = await site.database.insert(site.workflow_id)
    handle = await site.client.start_workflow(
        workflow, args=args, id=site.workflow_id, task_queue=site.task_queue, **options
    )
    await site.database.execute(
        "UPDATE workflow_executions SET run_id = $1 WHERE id = $2",
        handle.first_execution_run_id,
        row,
    )
    return handle


@pytest.mark.parametrize(
    ("workflow", "reports"), [*((each, False) for each in HANDLERS), ("WithQuery", True)]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"workflow_runner": UnsandboxedWorkflowRunner()}],
    ids=["sandboxed", "unsandboxed"],
)
async def test_workflows_with_handlers_do_not_report_with_the_option(
    site: Site, workflow: str, reports: bool, options: dict[str, Any]
) -> None:
    plugin = ReconcilerPlugin(site.database.engine, handlers=False)
    async with site.worker(plugin, workflows=WORKFLOWS, activities=[], **options):
        await site.closed(await run(site, workflow))

    assert await site.reports() == reports
    assert await site.outcome() == ("completed" if reports else "running", None)


@pytest.mark.parametrize("workflow", HANDLERS)
async def test_workflows_with_handlers_report_by_default(site: Site, workflow: str) -> None:
    async with site.worker(workflows=WORKFLOWS, activities=[]):
        await site.closed(await run(site, workflow))

    assert await site.outcome() == ("completed", None)


@pytest.mark.parametrize(
    ("how", "reports"), [("leave a local activity behind", 0), ("wait for a local activity", 1)]
)
async def test_no_report_while_a_local_activity_runs(site: Site, how: str, reports: int) -> None:
    options: dict[str, Any] = {"graceful_shutdown_timeout": timedelta()}
    async with site.worker(workflows=WORKFLOWS, **options):
        await site.closed(await run(site, "Odd", [how, 1]))

    assert await site.reports() == reports


@pytest.mark.parametrize(
    ("depth", "reports"), [(1, True), (ending.DEEPEST, True), (ending.DEEPEST + 1, False)]
)
async def test_no_report_of_a_failure_that_is_too_deep(
    site: Site, depth: int, reports: bool
) -> None:
    async with site.worker(workflows=WORKFLOWS, activities=[]):
        closed = await site.closed(await run(site, "Odd", ["deep", depth]))

    assert closed.status is CloseStatus.FAILED
    assert (await site.row())["status"] == ("failed" if reports else "running")


@pytest.mark.parametrize(
    ("how", "depth"),
    [
        ("without text", 0),
        ("recursive result", 0),
        ("details", 0),
    ],
)
@pytest.mark.parametrize("failures", [[], [Exception]], ids=["none", "every exception"])
async def test_an_end_that_does_not_reach_the_server(
    site: Site, how: str, depth: int, failures: list[type[BaseException]]
) -> None:
    """Whatever the SDK does with it, the row never contradicts Temporal."""
    async with site.worker(
        workflows=WORKFLOWS, activities=[], workflow_failure_exception_types=failures
    ):
        handle = await run(site, "Odd", [how, depth], task_timeout=timedelta(seconds=1))
        await eventually(lambda: is_over_or_retried(site, handle))

        observation = await site.world.observe(site.world.row(handle))
        if (await site.row())["status"] != "running":
            assert getattr(observation, "status", None) is CloseStatus.FAILED
        with contextlib.suppress(Exception):
            await handle.terminate()


async def is_over_or_retried(site: Site, handle: WorkflowHandle[Any, Any]) -> bool:
    pending = (await site.world.describe()).pending_workflow_task.attempt > 1
    return pending or await site.world.is_over(site.world.row(handle))


@pytest.mark.recent_sdk
async def test_the_limit_of_the_namespace_applies_to_results(
    database: Database, workflow_id: str
) -> None:
    limits = ["limit.blobSize.error=10240", "limit.blobSize.warn=5120"]
    flags = [part for each in limits for part in ("--dynamic-config-value", each)]
    async with temporal_server(*flags) as environment:
        outcomes = {}
        for size in (4_000, 6_000, 11_000):
            site = Site(environment.client, database, f"{workflow_id}-{size}")
            async with site.worker(workflows=WORKFLOWS, activities=[]):
                handle = await run(site, "Odd", ["return", size], task_timeout=timedelta(seconds=1))
                # The server rejects only the last; a slow machine may retry any of them.
                if size > 10_240:
                    await eventually(lambda: is_over_or_retried(site, handle))  # noqa: B023
                else:
                    await site.closed(handle)
            outcomes[size] = (await site.row())["status"]

    assert outcomes == {4_000: "completed", 6_000: "running", 11_000: "running"}


async def test_a_server_that_does_not_describe_namespaces(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("unimplemented")

    monkeypatch.setattr(site.client.workflow_service, "describe_namespace", fail)
    async with site.worker():
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)


async def test_two_rows_for_one_workflow(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    await site.database.insert(site.workflow_id, created_at=now)
    await site.database.insert(site.workflow_id, created_at=now + timedelta(seconds=2))
    async with site.worker(workflows=WORKFLOWS, activities=[]):
        with caplog.at_level(logging.WARNING):
            handle = await site.client.start_workflow(
                "WithQuery", id=site.workflow_id, task_queue=site.task_queue
            )
            await handle.result()

    assert [row["status"] for row in await site.rows()] == ["running", "running"]
    assert any("2 rows of this workflow id have no run id" in each for each in caplog.messages)
