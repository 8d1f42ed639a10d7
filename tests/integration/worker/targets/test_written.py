"""A worker whose workflows have their rows in several tables."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.worker import Replayer

from reconciler.settings import Settings, TableSettings
from reconciler.worker import ReconcilerPlugin, status_activity, tables
from reconciler.worker.after_close import backlog
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.integration.worker.targets.conftest import TARGETS, WAYS, export_of, run
from tests.support.polling import eventually
from tests.support.temporal.workflows import Scripted
from tests.support.worker.workflows import Export, Parent, Plain


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize("way", WAYS)
async def test_each_type_is_written_to_its_table(site: Site, exports: Database, way: Any) -> None:
    async with site.worker(ReconcilerPlugin(targets=TARGETS, report=way)):
        failed = await run(site, exports, "Typed", "fail", "no card 4711")
        await site.closed(await site.start("fail", "no card 4711"))

    assert await site.outcome() == ("failed", "OrderFailed: no card 4711")
    assert await export_of(exports, failed) == ("broken", "ValueError: no card [redacted]")
    assert await exports.fetch("SELECT FROM workflow_executions") == []
    assert await site.reports() == (way == "activity")


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize("way", WAYS)
async def test_the_plugin_asks_the_decorator(site: Site, exports: Database, way: Any) -> None:
    async with site.bare_worker(
        workflows=[Scripted, Export], plugins=[ReconcilerPlugin(targets="orders", report=way)]
    ):
        done = await run(site, exports, "Export", "done", "")
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)
    assert await export_of(exports, done) == ("shipped", None)


@pytest.mark.usefixtures("file")
async def test_the_mapping_wins_over_the_decorator(site: Site) -> None:
    plugin = ReconcilerPlugin(targets={"Export": "orders"})
    async with site.bare_worker(workflows=[Export], plugins=[plugin]):
        await site.closed(await site.start("done", "", workflow="Export"))

    assert await site.outcome() == ("completed", None)


@pytest.mark.usefixtures("file")
async def test_types_that_the_mapping_does_not_name_do_not_report(site: Site) -> None:
    async with site.worker(ReconcilerPlugin(targets={"Typed": "exports"})):
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("running", None)
    assert await site.reports() == 0


@pytest.mark.usefixtures("file")
async def test_the_decorator_by_itself_names_the_target(site: Site, exports: Database) -> None:
    async with site.bare_worker(workflows=[Export], activities=[status_activity()]):
        done = await run(site, exports, "Export", "done", "")

    assert await export_of(exports, done) == ("shipped", None)


@pytest.mark.usefixtures("file")
async def test_a_decorated_child_has_the_target_of_its_type(site: Site, exports: Database) -> None:
    # Children report by their decorator alone, which names none here.
    child = f"{site.workflow_id}/child"
    await exports.execute("INSERT INTO exports (workflow_id) VALUES ($1)", child)
    plugin = ReconcilerPlugin(targets={"Plain": "exports", "Parent": "orders"})
    async with site.bare_worker(workflows=[Parent, Plain], plugins=[plugin]):
        await site.closed(await site.start("Plain", "", workflow="Parent"))

    assert await site.outcome() == ("completed", None)
    assert await export_of(exports, child) == ("shipped", None)


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize("way", WAYS)
async def test_a_table_that_does_not_fit_suspends_only_its_own_reports(
    site: Site,
    exports: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: Any,
) -> None:
    monkeypatch.setattr(tables, "CHECK_INTERVAL", 0.05)
    await exports.execute("ALTER TABLE exports RENAME TO moved")

    async def is_logged(part: str) -> bool:
        return any(part in line for line in caplog.messages)

    caplog.set_level(logging.INFO, "reconciler.worker")
    async with site.worker(ReconcilerPlugin(targets=TARGETS, report=way)):
        await eventually(lambda: is_logged("workflows of target exports do not report their ends"))
        await site.closed(await site.start("complete"))
        await exports.execute("ALTER TABLE moved RENAME TO exports")
        await eventually(lambda: is_logged("the table of target exports fits now"))
        done = await run(site, exports, "Typed", "complete", "")

    assert await site.outcome() == ("completed", None)
    assert await export_of(exports, done) == ("shipped", None)


async def test_a_database_that_is_down_holds_up_no_other_after_the_close(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WRITES", (0.0, 0.01, 0.01))
    down = Settings(database_url=SecretStr("postgresql://app@127.0.0.1:1/app"))
    settings = {"orders": Settings(database_url=SecretStr(site.database.url)), "exports": down}
    plugin = ReconcilerPlugin(targets=TARGETS, settings=settings, report="after_close")
    async with site.worker(plugin):
        for number in range(2):
            await site.client.execute_workflow(
                "Typed",
                args=["complete", ""],
                id=f"{site.workflow_id}/{number}",
                task_queue=site.task_queue,
            )
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)
    (line,) = [each for each in caplog.messages if "could not be written" in each]
    assert "the database is unreachable" in line


async def test_a_history_with_a_target_replays_with_any_other(site: Site) -> None:
    settings = {name: TableSettings() for name in ("orders", "exports")}
    engine = site.database.engine
    async with site.worker(ReconcilerPlugin(engine, targets="orders", settings=settings)):
        handle = await site.start("complete")
        await site.closed(handle)
    history = await handle.fetch_history()

    for options in ({}, {"targets": "exports"}, {"targets": {"Typed": "exports"}}):
        plugin = ReconcilerPlugin(engine, settings=settings, **options)
        await Replayer(workflows=[Scripted], plugins=[plugin]).replay_workflow(history)
    await Replayer(workflows=[Scripted], plugins=[ReconcilerPlugin()]).replay_workflow(history)
