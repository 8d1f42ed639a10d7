"""Undoing a pass in pages: of many changes, of rows changed twice, cut short and given again."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from reconciler.core.model import RunRow
from reconciler.core.report.pass_report import PassOutcome
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.integration.postgres.journal.test_undo import (
    STALE,
    begun,
    failed,
    finish,
    journal,
    left,
    rows,
    table,
    undo,
)
from tests.integration.postgres.table.test_mapping import SHAPES
from tests.support.factories import CLOSE_TIME, outcome


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 6])
async def test_whatever_the_size_of_its_pages_every_change_is_undone_once(
    database: Database, batch_size: int
) -> None:
    pass_id = await rows(database, 5)

    done = await undo(database, pass_id, batch_size=batch_size)

    assert (done.scanned, done.written) == (5, {"running": 5})
    assert [row["row_id"] for row in await journal(database, done.pass_id)] == list("12345")


async def test_changes_of_other_passes_are_none_of_its_business(database: Database) -> None:
    pass_id = await rows(database, 2)
    ids = [await database.insert(f"wf-{id_}", f"run-{id_}") for id_ in (3, 4)]
    await finish(database, [failed(id_) for id_ in ids])

    assert (await undo(database, pass_id)).scanned == 2
    assert [row["status"] for row in await table(database)] == ["running"] * 2 + ["failed"] * 2


async def test_a_pass_without_changes_has_nothing_to_undo(database: Database) -> None:
    done = await undo(database, await begun(database))

    assert (done.outcome, done.scanned, done.written, done.left) == (PassOutcome.OK, 0, {}, {})


async def test_a_row_changed_twice_is_put_back_step_by_step(database: Database) -> None:
    await database.insert("wf-1", "run-1", error_message="stale")
    pass_id = await begun(database)
    await finish(database, [failed(1)], pass_id=pass_id)
    again = "UPDATE workflow_executions SET status = 'running', error_message = $1"
    await database.execute(again, "stale")
    await finish(database, [failed(1)], pass_id=pass_id)

    done = await undo(database, pass_id)

    row = await database.row(1)
    assert (row["status"], row["completed_at"]) == ("running", CLOSE_TIME)
    assert (done.scanned, done.written) == (2, {"running": 1})
    assert len(await journal(database, done.pass_id)) == 1


async def test_killed_between_two_pages_the_same_command_does_the_rest(database: Database) -> None:
    pass_id = await rows(database, 5)
    undoing = PostgresUndo(database.engine, await database.table())
    page = await undoing.page(pass_id, None, 3)
    await undoing.restore(await begun(database), [change.id for change in page])

    done = await undo(database, pass_id)

    assert {row["status"] for row in await table(database)} == {"running"}
    assert (done.outcome, done.written, left(done)) == (
        PassOutcome.OK,
        {"running": 2},
        {"as_before": 3},
    )


async def test_of_two_undos_at_once_one_puts_each_row_back(database: Database) -> None:
    pass_id = await rows(database, 40)

    both = await asyncio.gather(*(undo(database, pass_id, batch_size=7) for _ in range(2)))

    assert sum(report.written.total() for report in both) == 40
    undone = await database.fetch(
        "SELECT row_id FROM reconciler.changes WHERE temporal_status = 'UNDO'"
    )
    assert len(undone) == 40


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_tables_of_other_shapes(database: Database, shape: tuple[Any, ...]) -> None:
    key, status, time, text, id_ = shape
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    await database.execute("CREATE TYPE state AS ENUM ('running', 'completed', 'failed')")
    run_type = "uuid" if isinstance(id_, int) else "text"
    await database.execute(
        f"CREATE TABLE jobs ({key}, workflow_id varchar(100), run_id {run_type}, {status},"
        f" created_at {time}, completed_at {time}, error_message {text})"
    )
    run_id = str(uuid4())
    await database.execute(
        f"INSERT INTO jobs VALUES ($1, 'wf', $2::text::{run_type}, 'running', now(), now(), 'old')",
        id_,
        run_id,
    )
    names = TableNames(table="jobs")
    before = await table(database, "jobs")
    ended = outcome(RunRow(id_, "wf", run_id, STALE), status="failed", error_message="boom")

    pass_id = await finish(database, [ended], names)
    finished = await table(database, "jobs")
    first = await undo(database, pass_id, names=names)
    restored = await table(database, "jobs")
    second = await undo(database, first.pass_id, names=names)

    assert (first.written, second.written) == ({"running": 1}, {"failed": 1})
    assert finished != before
    assert restored == before
    assert await table(database, "jobs") == finished
    assert {change["row_id"] for change in await journal(database, str(UUID(pass_id)))} == {
        str(id_)
    }
