"""Targets over one table: each repairs its own columns or rows, and keeps its own records."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.app import undo as journal
from reconciler.app.app import App
from reconciler.app.setup import migrate
from reconciler.app.wiring import open_app
from reconciler.core.errors import ConfigurationError
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.recent import Recent
from reconciler.settings.model import Settings
from reconciler.settings.targets import load_targets
from tests.conftest import Database
from tests.integration.test_scope import opened, passed
from tests.support.temporal.world import World

HOUR = timedelta(hours=1)
TABLE = "workflow_executions"
#: An order, and its export, in one row: two workflows, two statuses.
TWO_STATUSES = """
    [targets.orders]

    [targets.exports.columns]
    workflow_id = "export_id"
    run_id = "export_run"
    status = "export_status"
    completed_at = "exported_at"
    error_message = "export_error"
"""
COMPLETED, FAILED = ("completed", False, None), ("failed", False, "OrderFailed: no money")
RUNNING = ("running", True, None)
ORDER = "status, completed_at IS NULL AS is_open, error_message"
EXPORT = "export_status, exported_at IS NULL AS export_open, export_error"

PAIRS = {
    "filters": '[targets.a]\nwhere = "tenant=x"\n[targets.b]\nwhere = "tenant=y"\n',
    "running values": "[targets.a]\n[targets.b.statuses]\nrunning = 'queued'\n",
    "status columns": "[targets.a]\n[targets.b.columns]\nstatus = 'export_status'\n",
    "schemas": f"[targets.a]\ntable = 'public.{TABLE}'\n[targets.b]\ntable = 'shop.{TABLE}'\n",
}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: Database) -> None:
    """Only the test's settings apply."""
    for name in os.environ:
        if name.upper().startswith("RECONCILER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.chdir(tmp_path)


def targets(toml: str) -> Sequence[Settings]:
    Path("reconciler.toml").write_text(toml)
    return load_targets()


async def listed(of: Settings) -> tuple[list[str], list[str]]:
    """The passes, and the passes of the changes, that commands list for a target."""
    async with journal.open_journal(of) as reader:
        stored = [str(each.id) async for page in reader.passes(9) for each in page]
        changes = [str(each.pass_id) async for page in reader.changes(9) for each in page]
        for each in stored:
            assert len(await reader.find(each, 2)) == 1
    return stored, changes


@pytest.fixture(params=PAIRS)
async def pair(request: pytest.FixtureRequest, database: Database) -> Sequence[Settings]:
    """Two targets that differ in one thing; each has one running row."""
    await database.execute(
        f"ALTER TABLE {TABLE} ADD tenant text, ADD export_status text;"
        f"CREATE SCHEMA shop; CREATE TABLE shop.{TABLE} (LIKE {TABLE} INCLUDING ALL)"
    )
    each = {"created_at": datetime.now(UTC) - HOUR}
    if request.param in ("filters", "running values"):
        status = "queued" if request.param == "running values" else "running"
        await database.insert("w", "r", tenant="y", status=status, **each)
    await database.insert("w", "r", tenant="x", export_status="running", **each)
    await database.execute(f"INSERT INTO shop.{TABLE} SELECT * FROM {TABLE}")
    return targets(PAIRS[request.param])


async def test_two_targets_that_differ_in_one_thing_keep_their_records_apart(
    pair: Sequence[Settings],
) -> None:
    reports = [await passed(of) for of in pair]
    assert [report.changed for report in reports] == [1, 1]

    for of, report in zip(pair, reports, strict=True):
        stored, rows = await journal.find_last(of)
        assert (str(stored.id), rows) == (report.pass_id, 1)
        assert await listed(of) == ([report.pass_id], [report.pass_id])
        async with opened(of) as (table, books), using_engine(of.dsn()) as engine:
            recent = Recent(engine, table.scope, "default")
            ((_, _, repaired),) = await recent.repaired(stored.started_at - HOUR)
            losing = await recent.losing(stored.started_at - HOUR, 9)
            newest = await JournalReader(engine).newest(table.scope, "default", 9)
            last, _ = await books.last_changes(table, "w")
        assert (repaired, losing.others) == (1, 1)
        assert [str(each.pass_id) for each in newest] == [report.pass_id]
        assert str(last[newest[0].row_id].pass_id) == report.pass_id
    of_other = reports[1].pass_id
    async with journal.open_journal(pair[0]) as reader:
        assert await reader.find(of_other, 2) == []


async def test_without_targets_all_passes_in_the_database_are_listed(
    pair: Sequence[Settings],
) -> None:
    reports = [await passed(of) for of in pair]
    Path("reconciler.toml").unlink()
    (of_none,) = load_targets()

    assert await listed(of_none) == ([each.pass_id for each in reversed(reports)],) * 2


async def test_two_targets_repair_two_statuses_of_one_row_and_each_undoes_its_own(
    database: Database, world: World, temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    await database.execute(
        f"ALTER TABLE {TABLE} ADD export_id text, ADD export_run text, ADD export_status text"
    )
    orders, exports = targets(TWO_STATUSES)
    await migrate(exports)
    order = await world.ended(await world.start("complete"))
    other = World(world.client, world.task_queue, f"{world.workflow_id}-export")
    export = await other.ended(await other.start("fail", "no money"))
    for _ in range(20):
        await database.insert(
            *(order.workflow_id, order.run_id),
            export_id=export.workflow_id,
            export_run=export.run_id,
            export_status="running",
        )

    async def rows() -> list[tuple[object, ...]]:
        found = await database.fetch(f"SELECT DISTINCT {ORDER}, {EXPORT} FROM {TABLE}")
        return [tuple(row.values()) for row in found]

    async with open_app(orders, writing=True) as one, open_app(exports, writing=True) as two:
        passes = await asyncio.gather(repaired(one), repaired(two))
    assert await rows() == [(*COMPLETED, *FAILED)]

    for pass_id in passes[0]:
        assert (await journal.undo(orders, pass_id, dry_run=False)).error is None
    assert await rows() == [(*RUNNING, *FAILED)]
    for pass_id in passes[1]:
        with pytest.raises(ConfigurationError, match=r"was over .* by export_id, export_"):
            await journal.undo(orders, pass_id, dry_run=False)
        await journal.undo(exports, pass_id, dry_run=False)
    assert await rows() == [(*RUNNING, *RUNNING)]


async def repaired(app: App) -> list[str]:
    """Run passes until no row is running: each skips rows that another has locked."""
    passes = []
    while await app.count_running():
        passes.append((await app.run_pass("once", dry_run=False)).pass_id)
    return passes
