"""A key of any type works everywhere, or is rejected before work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from reconciler.app import undo as journal
from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.errors import DatabaseUnfit
from reconciler.core.report.pass_report import PassReport
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableNames
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.integration.test_any_table import once
from tests.support.commands.stage import Stage
from tests.support.passes.operator import Operator

#: Key types that plans support, with edge cases of each.
PLANNABLE = {
    "bigint": ("-9223372036854775808", "-5", "9223372036854775807"),
    "uuid": ("01a213b5-697d-7cfc-bf26-de369cbc1bbd", "00000000-0000-0000-0000-000000000000"),
    "text": ("", "=1+1", "\x1b[2J\u202e\n'\"\\", "\U000e0041"),
    "char(5)": ("a", "ab", "abcde"),
    "five": ("a", "ab", "abcde"),
    "mood": ("sad", "happy"),
    "uid": ("01a213b5-697d-7cfc-bf26-de369cbc1bbd",),
}
#: Key types that passes support, and plans do not.
UNPLANNABLE = {
    "numeric": ("-1.50", "2", "1e30", "Infinity", "-Infinity"),
    "float8": ("-1.5", "0.1", "Infinity"),
    "boolean": ("true", "false"),
    "bytea": ("\\x00ff", "\\x"),
    "inet": ("10.0.0.1", "10.0.0.0/8", "::1"),
    "oid": ("7", "4294967295"),
}
#: Key types whose values change on a round trip, or cannot be sent back to the database.
UNFIT = (
    *("interval", "time", "timetz", "bit(4)", "bit varying", "money", "tsvector", "jsonb"),
    *("int[]", "int4range", "pair", "pg_lsn", "timestamptz", "timestamp", "date", '"char"', "dom"),
)


@dataclass(frozen=True)
class Keyed:
    """A table with one row per key, all of one closed workflow."""

    database: Database
    settings: Settings
    rows: int

    async def running(self) -> int:
        rows = await self.database.fetch("SELECT FROM keyed WHERE status = 'running'")
        return len(rows)


@pytest.fixture
async def keyed(
    kind: str,
    database: Database,
    temporal: Client,
    temporal_address: str,
    workflow_id: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Keyed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("DATABASE_URL", database.url)
    # Pages of one row: every key is also a cursor.
    settings = load_settings(Settings, table="keyed", grace="0s", batch_size=1)
    await make_types(database)
    await make_table(database, kind)
    stage = Stage(database, temporal, workflow_id)
    handle = await stage.closed()
    keys = (PLANNABLE | UNPLANNABLE)[kind]
    for key in keys:
        quoted = key.replace("'", "''")
        await database.execute(
            f"INSERT INTO keyed (id, workflow_id, run_id) VALUES ('{quoted}', $1, $2)",
            handle.id,
            handle.first_execution_run_id,
        )
    await migrate(database.url, settings.table_mapping())
    return Keyed(database, settings, len(keys))


async def make_types(database: Database) -> None:
    await database.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN uid AS uuid;"
        "CREATE DOMAIN five AS char(5); CREATE DOMAIN v5 AS varchar(5); CREATE DOMAIN short AS v5;"
        "CREATE DOMAIN dom AS mood;"
        "CREATE TYPE pair AS (a int, b int)"
    )


async def make_table(database: Database, kind: str) -> None:
    await database.execute(
        f"CREATE TABLE keyed (id {kind} PRIMARY KEY, workflow_id text, run_id text,"
        " status text DEFAULT 'running', created_at timestamptz DEFAULT now(),"
        " completed_at timestamptz, error_message text)"
    )


async def finishes_and_undoes(keyed: Keyed, report: PassReport | None) -> None:
    assert report is not None
    assert (report.error, report.changed, report.tally.lost_races) == (None, keyed.rows, 0)
    assert await keyed.running() == 0
    undone = await journal.undo(keyed.settings, report.pass_id, dry_run=False)
    assert (undone.error, undone.left) == (None, {})
    assert await keyed.running() == keyed.rows


@pytest.mark.parametrize("kind", PLANNABLE)
async def test_a_key_that_plans_support_works_everywhere(keyed: Keyed, tmp_path: Path) -> None:
    plan, settings = tmp_path / "plan.jsonl", keyed.settings

    await finishes_and_undoes(keyed, await once(settings))
    dry = await run_backfill(settings, Request(output=plan), Operator())
    assert dry is not None
    assert (dry.error, dry.changed) == (None, keyed.rows)
    apply = Request(apply=True)
    await finishes_and_undoes(keyed, await run_backfill(settings, apply, Operator()))
    await finishes_and_undoes(keyed, await run_plan(settings, apply, plan, Operator(), force=False))


@pytest.mark.parametrize("kind", UNPLANNABLE)
async def test_any_other_key_works_in_a_pass_and_is_rejected_before_a_plan_begins(
    keyed: Keyed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await finishes_and_undoes(keyed, await once(keyed.settings))
    async with open_app(keyed.settings, writing=False) as app:
        rows = await keyed.database.fetch("SELECT workflow_id FROM keyed LIMIT 1")
        assert len(await explain(app, str(rows[0]["workflow_id"]))) == keyed.rows

    table = tmp_path / "table.csv"
    dry = await run_backfill(keyed.settings, Request(output=table), Operator())
    assert dry is not None
    assert (dry.error, dry.changed) == (None, keyed.rows)
    assert len(table.read_text().splitlines()) == 1 + keyed.rows

    expected = "backfill --apply and plans need a key of type bigint, integer, uuid or text"
    for request in (Request(output=tmp_path / "plan.jsonl"), Request(apply=True)):
        refused = await run_backfill(keyed.settings, request, Operator())
        assert refused is not None
        assert expected in str(refused.error)
    assert list(tmp_path.iterdir()) == [table]
    assert await keyed.running() == keyed.rows


async def test_a_key_that_changes_on_a_round_trip_is_rejected(database: Database) -> None:
    await make_types(database)
    names = TableNames(table="keyed")
    for kind in UNFIT:
        await make_table(database, kind)
        with pytest.raises(DatabaseUnfit, match=r"column id of keyed .*must be a number, a text"):
            await database.table(names)
        await database.execute("DROP TABLE keyed")
