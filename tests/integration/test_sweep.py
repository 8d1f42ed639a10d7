"""Stretches of the sweep over a real table and a real Temporal, from one process to the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from reconciler.app.app import App
from reconciler.app.wiring import Shared, open_app
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.commands.stage import Stage
from tests.support.temporal.world import World

ROWS = 30


@pytest.fixture
async def stage(
    database: Database, world: World, temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Thirty rows of a workflow that has failed."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("DATABASE_URL", database.url)
    stage = Stage(database, world.client, world.workflow_id)
    handle = await stage.start("open")
    for _ in range(ROWS):
        await stage.insert(handle)
    yield stage
    await stage.end()


def opened(**settings: Any) -> AbstractAsyncContextManager[App]:
    given = {"full_sweep_interval": "10m", **settings}
    return open_app(load_settings(Settings, **given), writing=True)


async def stretch(app: App, stage: Stage, age: timedelta = timedelta(minutes=1)) -> PassReport:
    """A pass that reads its stretch only, so long after the last one."""
    await stage.database.execute(
        "UPDATE reconciler.passes SET report = jsonb_set(jsonb_set(report,"
        " '{sweep,began}', to_jsonb((report #>> '{sweep,began}')::timestamptz - $1::interval)),"
        " '{sweep,round_began}',"
        " to_jsonb((report #>> '{sweep,round_began}')::timestamptz - $1::interval))"
        " WHERE jsonb_typeof(report -> 'sweep') = 'object'",
        age,
    )
    report = await app.run_pass("run", dry_run=False, remap=True, stretch_only=True)
    assert report.outcome is PassOutcome.OK
    return report


async def test_each_process_continues_where_the_last_one_ended(stage: Stage) -> None:
    async with opened() as app:
        await app.run_pass("once", dry_run=False)
    described, ended = list[int](), False
    while not ended:
        async with opened() as app:
            report = await stretch(app, stage)
        assert report.round is not None
        assert report.rpcs["describe"] <= report.tally.scanned
        assert report.request.found_by == "sweep"
        described.append(report.tally.scanned)
        ended = report.round.ended

    assert sum(described) == ROWS
    assert 2 < len(described) <= 9, "about an eighth in each"


async def test_a_pass_that_was_killed_does_not_count(stage: Stage) -> None:
    async with opened() as app:
        await app.run_pass("once", dry_run=False)
        first = await stretch(app, stage)
        await stage.database.execute(
            "UPDATE reconciler.passes SET finished_at = NULL, outcome = NULL, report = NULL"
            " WHERE started_at = (SELECT max(started_at) FROM reconciler.passes)"
        )
        again = await stretch(app, stage)

    assert first.round is not None
    assert again.round is not None
    assert (first.round.began, again.round.began) == (True, True)
    assert again.tally.scanned > first.tally.scanned, "what is due since both"


@pytest.mark.parametrize(
    "recorded", ["report - 'sweep'", "report - 'sweep' || '{\"sweep_end\": 0.5}'"]
)
async def test_a_record_of_an_older_version_begins_a_round(stage: Stage, recorded: str) -> None:
    async with opened() as app:
        await app.run_pass("once", dry_run=False)
        await stage.database.execute(f"UPDATE reconciler.passes SET report = {recorded}")
        reports = [await stretch(app, stage) for _ in range(2)]

    assert reports[0].tally.scanned == 0
    assert 0 < reports[1].tally.scanned < ROWS


@pytest.mark.parametrize("journal", [True, False])
async def test_the_key_may_get_another_type_in_the_middle_of_a_round(
    stage: Stage, journal: bool
) -> None:
    if not journal:
        await stage.database.execute("DROP SCHEMA reconciler CASCADE")
    async with opened(journal=journal) as app:
        run = partial(app.run_pass, "run", dry_run=False, remap=True)
        await run()
        await run(stretch_only=True)
        await stage.database.execute(
            "ALTER TABLE workflow_executions ALTER id DROP IDENTITY;"
            "ALTER TABLE workflow_executions ALTER id TYPE uuid USING gen_random_uuid()"
        )
        report = await run(stretch_only=True)

    assert (report.outcome, report.error) == (PassOutcome.OK, None)
    assert report.round is not None
    assert report.round.began


async def test_the_sweeps_of_targets_under_one_limit_divide_their_share(
    stage: Stage, temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, temporal = load_settings(Settings, max_rps=80), {"target_host": temporal_address}
    rates = list[float | None]()

    async def note(*arguments: Any) -> PassReport:
        report: PassReport = arguments[-2]
        rates.append(arguments[5].sweep_rps)
        return report

    monkeypatch.setattr("reconciler.app.app.run_pass", note)
    for targets in (1, 4):
        shared = Shared([(settings, temporal)] * targets)
        async with open_app(settings, writing=True, temporal=temporal, shared=shared) as app:
            await app.run_pass("run", dry_run=False, stretch_only=True)

    assert rates == [20, 5]
