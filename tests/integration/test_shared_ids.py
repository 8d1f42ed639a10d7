"""Two rows with one workflow id, for one run: every command writes its end at most once."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.model import Finish
from reconciler.core.report.pass_report import PassReport
from reconciler.core.window import Moment
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.temporal.client.execution_info import to_datetime
from tests.conftest import Database
from tests.support.passes.operator import Operator
from tests.support.temporal.world import World

TICK = timedelta(milliseconds=1)


@pytest.fixture
def settings(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temporal_address: str
) -> Settings:
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.chdir(tmp_path)
    return load_settings(Settings, grace="0s")


async def in_every_way(settings: Settings, plan: Path, since: datetime) -> list[PassReport]:
    """Make a plan, apply it, backfill a window, and run a pass, in this order."""
    moment = Moment(since.isoformat(), since)
    reports = [
        await run_backfill(settings, Request(since=moment, output=plan), Operator()),
        await run_plan(settings, Request(apply=True), plan, Operator(), force=False),
        await run_backfill(settings, Request(since=moment, apply=True), Operator()),
    ]
    async with open_app(settings, writing=True) as app:
        reports.append(await app.run_pass("once", dry_run=False))
    return [report for report in reports if report is not None]


async def explained(settings: Settings, workflow_id: str) -> list[bool]:
    async with open_app(settings, writing=False) as app:
        return [isinstance(each.verdict, Finish) for each in await explain(app, workflow_id)]


async def test_if_neither_row_has_the_run_id_both_stay_running(
    settings: Settings, database: Database, world: World, tmp_path: Path
) -> None:
    handle = await world.start("complete")
    await world.ended(handle)
    started = to_datetime((await world.describe()).workflow_execution_info.start_time)
    since = started + TICK
    await database.insert(handle.id, created_at=since)
    outside = await database.insert(handle.id, created_at=started)
    assert await explained(settings, handle.id) == [False, False]

    dry, plan, window, once = await in_every_way(settings, tmp_path / "plan.jsonl", since)

    assert [each.changed for each in (dry, plan, window, once)] == [0, 0, 0, 0]
    assert [each.unknown for each in (dry, window, once)] == [1, 1, 2]
    assert await statuses(database) == ["running", "running"]

    await database.execute(
        "UPDATE workflow_executions SET created_at = created_at - interval '5 s' WHERE id = $1",
        outside,
    )
    assert await explained(settings, handle.id) == [True, False]
    _, plan, _, _ = await in_every_way(settings, tmp_path / "another.jsonl", since)
    assert plan.changed == 1
    assert await statuses(database) == ["completed", "running"]


async def test_the_row_with_the_run_id_is_finished_and_the_other_is_not(
    settings: Settings, database: Database, world: World, tmp_path: Path
) -> None:
    handle = await world.start("continue once")
    await world.ended(handle)
    first = handle.first_execution_run_id
    assert first is not None
    started = to_datetime((await world.describe(first)).workflow_execution_info.start_time)
    await database.insert(handle.id, created_at=started + TICK)
    await database.insert(handle.id, first, created_at=started - timedelta(days=1))
    assert await explained(settings, handle.id) == [False, True]

    dry, plan, window, once = await in_every_way(settings, tmp_path / "plan.jsonl", started + TICK)

    assert [each.changed for each in (dry, plan, window, once)] == [0, 0, 0, 1]
    assert once.tally.left == {"never_started": 1}
    assert await statuses(database) == ["running", "completed"]


async def test_a_row_without_a_namespace_is_in_the_connections_namespace(
    settings: Settings, database: Database, world: World
) -> None:
    await database.execute("ALTER TABLE workflow_executions ADD space text")
    named = settings.model_copy(
        update={"columns": settings.columns.model_copy(update={"namespace": "space"})}
    )
    handle = await world.start("complete")
    await world.ended(handle)
    started = to_datetime((await world.describe()).workflow_execution_info.start_time)
    for space in (None, "elsewhere"):
        await database.insert(handle.id, created_at=started, space=space)
    assert await explained(named, handle.id) == [True, False]

    await database.insert(handle.id, created_at=started, space="default")

    assert await explained(named, handle.id) == [False, False, False]


async def statuses(database: Database) -> list[object]:
    rows = await database.fetch("SELECT status FROM workflow_executions ORDER BY id")
    return [row["status"] for row in rows]
