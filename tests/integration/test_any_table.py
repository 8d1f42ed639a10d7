"""Everything that reads or writes rows, on tables without an optional column or with a filter.

Real passes, backfills, plans, undos and the main path, on a real Temporal. For each table, another
rule about the mapping matters.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowHandle

from reconciler.app import undo as journal
from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.model import Finish
from reconciler.core.report.pass_report import PassReport
from reconciler.plan.format import from_line
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.support.commands.stage import Stage
from tests.support.passes.operator import Operator

#: The optional columns, and their types.
COLUMNS = {
    "run_id": "text",
    "created_at": "timestamptz DEFAULT clock_timestamp()",
    "completed_at": "timestamptz",
    "error_message": "varchar(60)",
}


@dataclass(frozen=True)
class Case:
    """A table, and how it is mapped."""

    #: The optional column that it lacks.
    without: str = ""
    #: The table's name in RECONCILER_TABLE, and in SQL.
    table: str = "jobs"
    in_sql: str = "jobs"
    settings: dict[str, Any] = field(default_factory=dict)
    #: The scope that is recorded for a pass.
    scope: str = "jobs"
    namespace: str = "default"
    #: The tenants whose rows a pass finishes.
    tenants: tuple[int, ...] = (7, 9)


CASES = {
    **{f"no {name}": Case(name) for name in ("run_id", "created_at", "error_message")},
    "some rows, several running values, quoted names": Case(
        table="shop.Jobs",
        in_sql='shop."Jobs"',
        settings={"where": "tenant=8,7", "statuses": {"running": "pending,running"}},
        scope="shop.Jobs where status = pending, running and tenant = 7, 8",
        tenants=(8, 7),
    ),
    "with its schema, namespaces": Case(
        table="public.jobs",
        settings={
            "columns": {"namespace": "space"},
            "statuses": {"running": "pending,running"},
        },
        scope="jobs where status = pending, running",
        namespace="*",
        tenants=(8, 7),
    ),
}


@dataclass
class Table:
    """The table of a case, with rows of three workflows, two of them closed."""

    case: Case
    database: Database
    settings: Settings
    handles: list[WorkflowHandle[Any, Any]]

    async def rows(self) -> list[dict[str, object]]:
        """Every row, with all its columns."""
        return await self.database.fetch(f"SELECT * FROM {self.case.in_sql} ORDER BY id")

    async def resolve_ambiguity(self) -> tuple[int, ...]:
        """Let only one row match each workflow if none has a run id; returns the tenants to finish.

        With run ids, all rows of the case's tenants match.
        """
        if self.case.without != "run_id":
            return self.case.tenants
        await self.database.execute(
            f"UPDATE {self.case.in_sql} SET created_at = created_at - interval '1 day'"
            " WHERE tenant <> 9"
        )
        return (9,)

    async def recorded(self, name: str) -> set[object]:
        """The values of the column `table_name` in one of reconciler's tables."""
        rows = await self.database.fetch(f"SELECT table_name AS it FROM reconciler.{name}")
        return {row["it"] for row in rows}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temporal_address: str) -> None:
    """Only the test's settings apply."""
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
async def table(
    request: pytest.FixtureRequest,
    database: Database,
    temporal: Client,
    workflow_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Table]:
    case: Case = request.param
    monkeypatch.setenv("DATABASE_URL", database.url)
    if case.without:
        monkeypatch.setenv(f"RECONCILER_COLUMNS__{case.without.upper()}", "")
    settings = load_settings(Settings, table=case.table, grace="0s", **case.settings)
    columns = [f"{name} {kind}" for name, kind in COLUMNS.items() if name != case.without]
    stage = Stage(database, temporal, workflow_id)
    handles = [await stage.closed("done"), await stage.closed("main"), await stage.start("open")]
    await database.execute(
        "CREATE SCHEMA shop;"
        f"CREATE TABLE {case.in_sql} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant int,"
        f" space text, workflow_id text, status text, note text, {', '.join(columns)})"
    )
    for tenant, space, status in ROWS:
        for handle in handles:
            run = {} if case.without == "run_id" else {"run_id": handle.first_execution_run_id}
            names = ["tenant", "space", "workflow_id", "status", "note", *run]
            marks = ", ".join(f"${number}" for number in range(1, len(names) + 1))
            await database.execute(
                f"INSERT INTO {case.in_sql} ({', '.join(names)}) VALUES ({marks})",
                *(tenant, space, handle.id, status, "theirs", *run.values()),
            )
    await migrate(database.url, settings.table_mapping())
    yield Table(case, database, settings, handles)
    await stage.end()


# Cases with a filter on tenants, or with namespaces, exclude the youngest one.
ROWS = [(8, "", "pending"), (7, "default", "running"), (9, "nowhere", "running")]


def finished(table: Table, row: dict[str, object]) -> bool:
    """Whether a row has everything that a finished one has, in the columns that exist."""
    message, time = row.get("error_message"), row.get("completed_at")
    return (
        row["status"] == "failed"
        and (table.case.without == "error_message" or str(message).startswith("terminated by "))
        and time is not None
    )


def others(rows: list[dict[str, object]], than: set[object]) -> list[dict[str, object]]:
    return [row for row in rows if row["id"] not in than]


async def test_every_way_to_finish_a_row_finishes_the_same_rows(
    table: Table, tmp_path: Path
) -> None:
    tenants, closed = await table.resolve_ambiguity(), [handle.id for handle in table.handles[:2]]
    before = await table.rows()
    expected = {
        row["id"] for row in before if row["tenant"] in tenants and row["workflow_id"] in closed
    }
    plan = tmp_path / "plan.jsonl"

    assert await explained_as_finished(table) == {
        row["id"]: row["id"] in expected for row in before if row["workflow_id"] == closed[0]
    }
    dry = await run_backfill(table.settings, Request(output=plan), Operator())
    assert dry is not None
    assert (dry.error, dry.changed, len(expected)) == (None, 2 * len(tenants), 2 * len(tenants))
    assert await table.rows() == before
    assert from_line(plan.read_bytes().splitlines()[0])["table"] == table.case.scope
    ways: list[Callable[[], Awaitable[PassReport | None]]] = [
        lambda: run_plan(table.settings, Request(apply=True), plan, Operator(), force=False),
        lambda: once(table.settings),
        lambda: run_backfill(table.settings, Request(apply=True), Operator()),
    ]
    for way in ways:
        with capture_logs() as lines:
            report = await way()
        assert report is not None
        assert (report.error, report.tally.lost_races) == (None, 0)
        old = {line["old"] for line in lines if line["event"] == "row_finished"}
        assert old == {table.settings.status_values().running_label}
        after = await table.rows()
        assert {row["id"] for row in after if finished(table, row)} == expected
        assert others(after, expected) == others(before, expected)
        undone = await journal.undo(table.settings, report.pass_id, dry_run=False)
        assert (undone.error, undone.left) == (None, {})
        assert await table.rows() == before

    assert await table.recorded("changes") == {table.case.scope.partition(" where ")[0]}
    assert await table.recorded("passes") == {table.case.scope}
    assert await table.recorded("lease") == {f"{table.case.scope} (backfill)"}
    for name in ("passes", "lease"):
        rows = await table.database.fetch(f"SELECT DISTINCT namespace FROM reconciler.{name}")
        assert [row["namespace"] for row in rows] == [table.case.namespace]


async def explained_as_finished(table: Table) -> dict[object, bool]:
    """For each row of the first workflow, whether a pass would scan and finish it."""
    async with open_app(table.settings, writing=False) as app:
        found = await explain(app, table.handles[0].id)
        return {
            each.stored.row.id: each.stored.running and isinstance(each.verdict, Finish)
            for each in found
        }


async def once(settings: Settings) -> PassReport:
    async with open_app(settings, writing=True) as app:
        return await app.run_pass("once", dry_run=False)


async def test_the_main_path_finishes_its_own_rows_and_no_others(table: Table) -> None:
    handle = table.handles[1]
    assert handle.first_execution_run_id is not None
    now = datetime.now(UTC)
    text = "terminated by hand\n" + "x" * 100
    report = EndReport(handle.id, "failed", handle.first_execution_run_id, now, text)
    writer = RowWriter(table.database.engine, table.settings, owned=False)
    if table.case.without == "run_id":
        assert not await writer.finish(report, "default", now)
    tenants = await table.resolve_ambiguity()
    before = await table.rows()

    assert await writer.finish(report, "default", now)

    after = await table.rows()
    done = [row for row in after if finished(table, row)]
    assert {(row["workflow_id"], row["tenant"]) for row in done} == {
        (handle.id, tenant) for tenant in tenants
    }
    finished_ids = {row["id"] for row in done}
    assert others(after, finished_ids) == others(before, finished_ids)
