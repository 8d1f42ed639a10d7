"""Replays of histories with and without the plugin, and workflows that are open at a deploy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from reconciler.core.model import CloseStatus
from reconciler.worker import ReconcilerPlugin, ending, reporter, snapshot
from tests.integration.worker.conftest import Site, locked_rows, waiting
from tests.support.crossed import crossed
from tests.support.polling import eventually
from tests.support.temporal.workflows import Scripted, Typed

SCRIPTS = ["complete", "fail", "fail in an activity", "fail in a child", "wait", "continue once"]


async def record(site: Site, script: str, plugins: Sequence[ReconcilerPlugin]) -> WorkflowHistory:
    """The history of a workflow that has ended on a worker with these plugins."""
    async with site.bare_worker(plugins=plugins):
        handle = await site.start(script)
        if script == "wait":
            await site.world.first_task_done()
            await handle.cancel()
        await site.closed(handle)
        return await handle.fetch_history()


async def replay(history: WorkflowHistory, *plugins: ReconcilerPlugin) -> None:
    """Raises if the history cannot be replayed."""
    await Replayer(workflows=[Scripted, Typed], plugins=plugins).replay_workflow(history)


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_history_from_before_the_plugin(site: Site, script: str) -> None:
    history = await record(site, script, [])

    await replay(history, ReconcilerPlugin())


@pytest.mark.parametrize(
    ("script", "options"), crossed(SCRIPTS, [{}, {"only": []}, {"skip": ["Scripted"]}])
)
async def test_a_history_with_the_plugin_under_other_options(
    site: Site, script: str, options: dict[str, Any]
) -> None:
    history = await record(site, script, [ReconcilerPlugin(site.database.engine)])

    await replay(history, ReconcilerPlugin(**options))


@pytest.mark.parametrize("script", ["complete", "fail"])
async def test_a_history_with_the_plugin_under_other_rules(
    site: Site, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    # A later version may report less than this one.
    history = await record(site, script, [ReconcilerPlugin(site.database.engine)])
    monkeypatch.setattr(ending, "DEEPEST", 0)
    monkeypatch.setattr(snapshot.ResultSnapshot, "is_stable", False)

    await replay(history, ReconcilerPlugin())

    monkeypatch.undo()
    monkeypatch.setattr(reporter, "LONGEST_HOLD", timedelta())
    await replay(history, ReconcilerPlugin())


async def test_a_history_of_a_workflow_that_did_not_report(site: Site) -> None:
    history = await record(
        site, "complete", [ReconcilerPlugin(site.database.engine, skip=["Scripted"])]
    )

    await replay(history, ReconcilerPlugin())
    await replay(history)


async def test_a_history_with_the_plugin_cannot_be_replayed_without_it(site: Site) -> None:
    # See "Rolling back" in docs/main-path.md.
    history = await record(site, "complete", [ReconcilerPlugin(site.database.engine)])

    with pytest.raises(workflow.NondeterminismError, match="reconciler-main-path"):
        await replay(history)


async def test_a_workflow_that_is_open_at_the_deploy_reports_its_end(site: Site) -> None:
    async with site.bare_worker():
        handle = await site.start("wait")
        await site.world.first_task_done()
    async with site.worker():
        await handle.signal("release")
        await site.closed(handle)

    assert await site.outcome() == ("completed", None)


@pytest.mark.usefixtures("unhurried")
async def test_a_running_write_is_finished_when_reporting_is_turned_off(site: Site) -> None:
    handle = await site.start("complete")
    async with locked_rows(site.database), site.worker():
        await eventually(lambda: waiting(site))
    async with site.worker(ReconcilerPlugin(site.database.engine, only=[])):
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.COMPLETED
    assert await site.outcome() == ("completed", None)


async def test_a_closed_workflow_can_be_queried(site: Site) -> None:
    async with site.bare_worker():
        handle = await site.start("wait")
        await handle.signal("release")
        await site.closed(handle)
    async with site.worker(max_cached_workflows=0):
        assert await handle.query("is_released") is True
