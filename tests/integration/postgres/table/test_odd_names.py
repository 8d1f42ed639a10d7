"""Tables and columns that are called like something in our own statements."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.undo import run_undo
from reconciler.postgres.diagnose.read_plan import plan_page
from reconciler.postgres.diagnose.sample import last_rows, oldest_rows, rows_by_namespace
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.rows.lookup.stored import find_rows, old_values
from reconciler.postgres.rows.main_path_write import main_path_write
from reconciler.postgres.rows.rivals import arrays, select_rivals
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.support.factories import outcome

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
#: What CTEs and the like are called, ours and SQLAlchemy's; and our own tables.
PARTS = (
    *("locked", "finished", "journalled", "given", "asked", "undone", "restored", "candidates"),
    *("own", "doubt", "anon_1", "unnest", "changes", "passes", "lease", "locked_", "select"),
    *("line", "stale", "corrected"),
)
#: Columns under the names that our parameters and results have.
COLUMNS = (
    TableNames("jobs", None, "place", "old_status", "change_id", "new_status", "made", "wanted"),
    TableNames("jobs", None, "ids", "pass_id", "after", "until", "rows"),
    TableNames("jobs", None, "locked", "given", "finished", "own", "undone", "restored", "asked"),
)


async def made(database: Database, names: TableNames) -> MappedTable:
    """A table of these names, with an AFTER trigger and a row."""
    columns = {
        names.id: "int PRIMARY KEY",
        names.workflow_id: "text",
        names.run_id: "text",
        names.status: "text DEFAULT 'running'",
        names.created_at: "timestamptz DEFAULT now()",
        names.completed_at: "timestamptz",
        names.error_message: "text",
    }
    table = f'public."{names.table}"'
    defined = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    await database.execute(
        f"CREATE TABLE {table} ({defined});"
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NULL; END $$;"
        f"CREATE TRIGGER noop AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION noop();"
        f'INSERT INTO {table} ("{names.id}", "{names.workflow_id}", "{names.run_id}")'
        " VALUES (1, 'wf', 'r')"
    )
    return await database.table(names)


async def works_in_everything(database: Database, names: TableNames) -> None:
    table = await made(database, names)
    engine = database.engine
    store = PostgresStore(engine, table)
    await plan_page(engine, table, 10)
    assert len(await last_rows(engine, table, 10)) == 1
    assert len(await oldest_rows(engine, table, 10, ["default"], "default")) == 1
    assert len(await rows_by_namespace(engine, table, "default", 10, 10)) == 1
    assert (await store.count_running(Span(None, 1))).rows == 1
    (row,) = await store.scan_running(None, await store.last_running() or 0, 10)
    async with engine.connect() as connection:
        assert (await connection.execute(select_rivals(table), arrays(table, []))).all() == []
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=NOW)
    await database.history().begin(report)

    done = await store.finish_if_running(report.pass_id, [outcome(row)])
    assert done.ids == {1}
    assert (await old_values(engine, table, [1]))[1].status == "completed"
    undo = UndoReport(str(uuid4()), PassRequest("undo"), started_at=NOW, undone=report.pass_id)
    await run_undo(PostgresUndo(engine, table), database.history(), undo, 10)
    assert (undo.error, dict(undo.written), undo.left) == (None, {"running": 1}, {})

    async with engine.begin() as connection:
        written = await connection.execute(main_path_write(table), given("wf", "r"))
    assert tuple(written.one()) == (1, 0, 1)
    (stored,) = await find_rows(engine, table, "wf")
    assert (stored.running, stored.status) == (False, "failed")


def given(workflow_id: str, run_id: str) -> Mapping[str, Any]:
    return {
        "given_workflow_id": workflow_id,
        "given_run_id": run_id,
        "given_namespace": "default",
        "given_status": "failed",
        "given_close_time": NOW,
        "given_started": NOW,
        "given_message": "boom",
    }


@pytest.mark.parametrize(
    ("name", "schema"),
    [*((name, None) for name in PARTS), ("locked", "public"), ("undone", "public")],
)
async def test_a_table_that_is_called_like_a_part_of_a_statement(
    database: Database, name: str, schema: str | None
) -> None:
    await works_in_everything(database, TableNames(table=name, schema=schema))


@pytest.mark.parametrize("names", COLUMNS, ids=lambda names: names.id)
async def test_columns_that_are_called_like_a_parameter_or_a_result(
    database: Database, names: TableNames
) -> None:
    await works_in_everything(database, names)


@pytest.mark.parametrize("column", ["workflow_id", "run_id", "created_at", "error_message"])
async def test_a_column_that_is_called_like_what_the_main_path_is_given_is_refused(
    database: Database, column: str
) -> None:
    """SQLAlchemy would write the parameter of that name into it."""
    name = f"given_{column}"
    await database.execute(f"ALTER TABLE workflow_executions RENAME {column} TO {name}")

    with pytest.raises(DatabaseUnfit, match=f"'{name}' would be taken for a parameter"):
        await database.table(TableNames(**{column: name}))
