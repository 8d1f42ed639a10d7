"""What rows say before they are finished, by their ids."""

from __future__ import annotations

from uuid import uuid4

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import OldValues, RowId
from reconciler.postgres.rows.lookup.stored import old_values
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.support.factories import CLOSE_TIME


async def test_rows_say_what_they_say_whatever_their_status(database: Database) -> None:
    running = await database.insert("wf-1", "run-1")
    left_over = await database.insert(
        "wf-2", "run-2", status="failed", completed_at=CLOSE_TIME, error_message="left over"
    )
    await database.insert("wf-3", "run-3")

    found = await old_values(database.engine, await database.table(), [running, left_over])

    assert found == {
        running: OldValues("running", None, None),
        left_over: OldValues("failed", CLOSE_TIME, "left over"),
    }


async def test_a_row_that_is_gone_is_not_among_them(database: Database) -> None:
    assert await old_values(database.engine, await database.table(), [1, 2]) == {}


async def test_columns_that_are_yet_to_be_added_are_null(empty_database: Database) -> None:
    await empty_database.execute(
        "CREATE TABLE workflow_executions (id int PRIMARY KEY, workflow_id text, run_id text,"
        " status text, created_at timestamptz)"
    )
    await empty_database.execute("INSERT INTO workflow_executions VALUES (1, 'wf', 'r', 'running')")
    table = await empty_database.table(writing=False)

    found = await old_values(empty_database.engine, table, [1])

    assert found == {1: OldValues("running", None, None)}


@pytest.mark.parametrize(("kind", "key"), [("uuid", uuid4()), ("text", "tenant/1"), ("int", 7)])
async def test_every_kind_of_key_and_of_column(database: Database, kind: str, key: RowId) -> None:
    await database.execute("CREATE TYPE state AS ENUM ('running', 'completed', 'failed')")
    await database.execute(
        f"CREATE TABLE jobs (id {kind} PRIMARY KEY, workflow_id text, run_id text, status state,"
        " created_at timestamp, completed_at timestamp, error_message varchar(20))"
    )
    await database.execute(
        "INSERT INTO jobs VALUES ($1, 'wf', 'r', 'failed', NULL, $2, 'boom')",
        key,
        CLOSE_TIME.replace(tzinfo=None),
    )
    table = await database.table(TableNames(table="jobs"))

    found = await old_values(database.engine, table, [key])

    assert found == {key: OldValues("failed", CLOSE_TIME, "boom")}


async def test_a_status_may_have_become_null(database: Database) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER status DROP NOT NULL")
    id_ = await database.insert("wf", "run-1", status=None)

    found = await old_values(database.engine, await database.table(), [id_])

    assert found == {id_: OldValues(None, None, None)}


async def test_a_page_may_be_longer_than_a_statement_has_parameters(database: Database) -> None:
    id_ = await database.insert("wf", "run-1")

    found = await old_values(database.engine, await database.table(), range(id_, id_ + 40_000))

    assert list(found) == [id_]


async def test_a_table_that_cannot_be_read_is_unusable(database: Database) -> None:
    table = await database.table()
    await database.execute("DROP TABLE workflow_executions")

    with pytest.raises(DatabaseUnusable, match="cannot read workflow_executions"):
        await old_values(database.engine, table, [1])
