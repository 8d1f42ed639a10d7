"""Undoing a pass on PostgreSQL: what is put back, what is left alone, what the journal says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from reconciler.core.model import Outcome, RunRow
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.undo import run_undo
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.names import TableNames
from tests.conftest import Database
from tests.support.factories import CLOSE_TIME, outcome

NAMES = TableNames()
STALE = datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC)


def failed(id_: int, **fields: Any) -> Outcome:
    row = RunRow(id_, f"wf-{id_}", f"run-{id_}", STALE)
    return outcome(row, status="failed", error_message="boom", **fields)


async def begun(database: Database) -> str:
    report = PassReport(str(uuid4()), PassRequest("once"), started_at=datetime.now(UTC))
    await database.history().begin(report)
    return report.pass_id


async def finish(
    database: Database, outcomes: Sequence[Outcome], names: TableNames = NAMES, pass_id: str = ""
) -> str:
    """A pass that has finished these rows."""
    pass_id = pass_id or await begun(database)
    store = PostgresStore(database.engine, await database.table(names))
    written = await store.finish_if_running(pass_id, outcomes)
    assert len(written.ids) == len(outcomes)
    return pass_id


async def rows(database: Database, count: int) -> str:
    """Rows with different values, and the pass that finished them."""
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id, completed_at, error_message)"
        " SELECT 'wf-' || n, 'run-' || n, $1, 'stale ' || n FROM generate_series(1, $2) n",
        STALE,
        count,
    )
    return await finish(database, [failed(id_) for id_ in range(1, count + 1)])


async def undo(
    database: Database,
    pass_id: str,
    *,
    dry_run: bool = False,
    batch_size: int = 500,
    names: TableNames = NAMES,
) -> UndoReport:
    report = UndoReport(
        str(uuid4()), PassRequest("undo", dry_run, {"undo": pass_id}), started_at=datetime.now(UTC)
    )
    report.undone = pass_id
    journal = PostgresUndo(database.engine, await database.table(names))
    return await run_undo(journal, database.history(), report, batch_size)


async def table(database: Database, name: str = "workflow_executions") -> list[dict[str, object]]:
    return await database.fetch(f"SELECT * FROM {name} ORDER BY id")


async def journal(database: Database, pass_id: str) -> list[dict[str, object]]:
    return await database.fetch(
        "SELECT * FROM reconciler.changes WHERE pass_id = $1 ORDER BY row_id", UUID(pass_id)
    )


def left(report: UndoReport) -> Mapping[str, int]:
    return {reason.value: count for reason, count in report.left.items()}


async def test_every_row_gets_back_exactly_what_it_had(database: Database) -> None:
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id, completed_at, error_message) VALUES"
        " ('wf-1', 'run-1', NULL, NULL), ('wf-2', 'run-2', '2026-10-31 23:59:59.999999Z', 'stale'),"
        " ('wf-3', 'run-3', 'infinity', ''), ('wf-4', 'run-4', '-infinity', E'two\\nlines')"
    )
    before = await table(database)
    done = await undo(database, await finish(database, [failed(id_) for id_ in range(1, 5)]))

    assert await table(database) == before
    assert (done.outcome, done.scanned, done.written) == (PassOutcome.OK, 4, {"running": 4})
    assert done.left == {}


async def test_it_is_journalled_as_a_pass_of_its_own(database: Database) -> None:
    undone = await rows(database, 1)
    done = await undo(database, undone)

    (recorded,) = await database.fetch("SELECT * FROM reconciler.passes WHERE mode = 'undo'")
    assert str(recorded["id"]) == done.pass_id
    assert (recorded["asked"], recorded["outcome"]) == (f'{{"undo": "{undone}"}}', "ok")
    assert recorded["finished_at"] is not None
    assert recorded["cursor"] is None
    (change,) = await journal(database, done.pass_id)
    del change["id"], change["changed_at"]
    assert change == {
        "pass_id": UUID(done.pass_id),
        "table_name": "workflow_executions",
        "row_id": "1",
        "workflow_id": "wf-1",
        "run_id": "run-1",
        "old_status": "failed",
        "new_status": "running",
        "old_completed_at": CLOSE_TIME,
        "new_completed_at": STALE,
        "old_error_message": "boom",
        "new_error_message": "stale 1",
        "temporal_status": "UNDO",
        "final_run_id": None,
        "close_time": None,
        "found_by": "undo",
        "workflow_type": None,
    }


async def test_an_undo_can_be_undone_and_that_too(database: Database) -> None:
    pass_id = await rows(database, 3)
    finished = await table(database)
    first = await undo(database, pass_id)
    running = await table(database)

    second = await undo(database, first.pass_id)
    assert await table(database) == finished
    assert second.written == {"failed": 3}

    third = await undo(database, second.pass_id)
    assert await table(database) == running
    assert third.outcome is PassOutcome.OK


async def test_a_second_time_there_is_nothing_to_do(database: Database) -> None:
    pass_id = await rows(database, 3)
    await undo(database, pass_id)
    again = await undo(database, pass_id)

    assert (again.outcome, again.written, left(again)) == (PassOutcome.OK, {}, {"as_before": 3})
    assert await journal(database, again.pass_id) == []


async def test_after_the_rows_were_finished_once_more_it_can_be_undone_once_more(
    database: Database,
) -> None:
    pass_id = await rows(database, 2)
    await undo(database, pass_id)
    await finish(database, [failed(1), failed(2)])

    assert (await undo(database, pass_id)).written == {"running": 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE workflow_executions SET status = 'archived' WHERE id = 2", "changed"),
        ("UPDATE workflow_executions SET status = 'running' WHERE id = 2", "changed"),
        ("UPDATE workflow_executions SET completed_at = now() WHERE id = 2", "changed"),
        ("UPDATE workflow_executions SET completed_at = NULL WHERE id = 2", "changed"),
        ("UPDATE workflow_executions SET error_message = 'seen' WHERE id = 2", "changed"),
        ("UPDATE workflow_executions SET error_message = NULL WHERE id = 2", "changed"),
        ("UPDATE workflow_executions SET workflow_id = 'other' WHERE id = 2", "reused"),
        ("UPDATE workflow_executions SET run_id = 'other' WHERE id = 2", "reused"),
        ("UPDATE workflow_executions SET run_id = NULL WHERE id = 2", "reused"),
        ("DELETE FROM workflow_executions WHERE id = 2", "gone"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True], ids=["for real", "dry run"])
async def test_a_row_that_is_not_as_the_pass_left_it_stays_as_it_is(
    database: Database, change: str, reason: str, dry_run: bool
) -> None:
    pass_id = await rows(database, 3)
    await database.execute(change)
    others = "SELECT * FROM workflow_executions WHERE id = 2"
    before = await database.fetch(others)

    done = await undo(database, pass_id, dry_run=dry_run)

    assert await database.fetch(others) == before
    assert left(done) == {reason: 1}
    assert done.written == {"running": 2}
    assert done.outcome is PassOutcome.UNRESOLVED
    changed = [row["row_id"] for row in await journal(database, done.pass_id)]
    assert changed == ([] if dry_run else ["1", "3"])


async def test_a_row_without_a_run_id_is_put_back_unless_it_has_got_one(database: Database) -> None:
    ids = [await database.insert("wf", None) for _ in range(2)]
    pass_id = await finish(database, [outcome(RunRow(id_, "wf", None, STALE)) for id_ in ids])
    await database.execute("UPDATE workflow_executions SET run_id = 'new' WHERE id = $1", ids[1])

    done = await undo(database, pass_id)

    assert (await database.row(ids[0]))["status"] == "running"
    assert left(done) == {"reused": 1}


async def test_an_empty_run_id_means_the_same_as_none(database: Database) -> None:
    insert = "INSERT INTO workflow_executions (workflow_id, run_id) VALUES ('wf-1', '')"
    await database.execute(insert)
    undone = await finish(database, [outcome(RunRow(1, "wf-1", None, STALE))])
    await database.execute("UPDATE workflow_executions SET run_id = NULL")

    assert (await undo(database, undone)).written == {"running": 1}


async def test_a_row_that_is_being_written_is_not_waited_for(database: Database) -> None:
    pass_id = await rows(database, 3)
    other = await asyncpg.connect(database.url)
    try:
        async with other.transaction():
            await other.execute("UPDATE workflow_executions SET error_message = 'x' WHERE id = 2")
            done = await undo(database, pass_id)
    finally:
        await other.close()

    assert (done.written, left(done)) == ({"running": 2}, {"locked": 1})
    assert done.outcome is PassOutcome.UNRESOLVED
    assert (await database.row(2))["error_message"] == "x"


async def test_a_row_that_is_only_referred_to_is_put_back(database: Database) -> None:
    pass_id = await rows(database, 1)
    await database.execute("CREATE TABLE step (of bigint REFERENCES workflow_executions (id))")
    other = await asyncpg.connect(database.url)
    try:
        async with other.transaction():
            await other.execute("INSERT INTO step VALUES (1)")  # locks the row FOR KEY SHARE
            done = await undo(database, pass_id)
    finally:
        await other.close()

    assert done.written == {"running": 1}


async def test_a_row_that_the_database_refuses_costs_no_other(database: Database) -> None:
    pass_id = await rows(database, 9)
    await database.execute(
        "ALTER TABLE workflow_executions ADD CHECK (id <> 4 OR status <> 'running') NOT VALID"
    )

    done = await undo(database, pass_id)

    assert (done.written, left(done)) == ({"running": 8}, {"refused": 1})
    assert done.outcome is PassOutcome.UNRESOLVED
    assert (await database.row(4))["status"] == "failed"


async def test_an_error_that_is_not_of_one_row_ends_it(database: Database) -> None:
    pass_id = await rows(database, 3)
    undoing = PostgresUndo(database.engine, await database.table())
    await database.execute("ALTER TABLE workflow_executions RENAME error_message TO why")
    report = UndoReport(str(uuid4()), PassRequest("undo"), started_at=STALE, undone=pass_id)

    done = await run_undo(undoing, database.history(), report, 500)

    assert done.outcome is PassOutcome.ABORTED
    assert done.error is not None
    assert "error_message" in done.error
    assert (done.scanned, done.left) == (0, {})


async def test_a_dry_run_leaves_every_byte(database: Database) -> None:
    pass_id = await rows(database, 3)
    contents = [
        f"SELECT xmin::text, xmax::text, ctid::text, t::text FROM {name} t ORDER BY id"
        for name in ("workflow_executions", "reconciler.passes", "reconciler.changes")
    ]
    before = [await database.fetch(query) for query in contents]

    done = await undo(database, pass_id, dry_run=True)

    assert (done.written, done.outcome) == ({"running": 3}, PassOutcome.OK)
    assert [await database.fetch(query) for query in contents] == before


#: What the text of a value depends on, as it was when a pass wrote and is not when it is undone.
SETTINGS = {
    "extra_float_digits": "-10",
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Tokyo",
}


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        *[("id", "float8", "1.0 / 3"), ("id", "real", "1.0 / 3"), ("id", "numeric", "1.0 / 3")],
        *[("id", "bytea", "'\\x5c00ff'"), ("id", "inet", "'10.1.2.3/8'")],
        *[("workflow_id", "bytea", "'\\x5c00ff'"), ("workflow_id", "date", "'2026-11-05'")],
        *[("workflow_id", "interval", "'1 day 02:03'"), ("workflow_id", "float8", "1.0 / 3")],
    ],
)
async def test_what_a_value_is_noted_as_depends_on_no_setting(
    database: Database, name: str, kind: str, value: str
) -> None:
    """Of the role or the database, which may be others when a pass is undone."""
    text = "'wf'"
    here = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(
        "ALTER TABLE workflow_executions ALTER id DROP IDENTITY;"
        f"ALTER TABLE workflow_executions ALTER {name} TYPE {kind} USING {value}::{kind};"
        "INSERT INTO workflow_executions (id, workflow_id, run_id) VALUES"
        f" ({value if name == 'id' else 1}, {value if name != 'id' else text}, 'r')"
    )
    for setting, odd in SETTINGS.items():
        await database.execute(f"ALTER DATABASE \"{here}\" SET {setting} = '{odd}'")
    await database.engine.dispose()
    store = PostgresStore(database.engine, await database.table())
    last = await store.last_running()
    assert last is not None
    seen = await store.scan_running(None, last, 9)
    pass_id = await finish(database, [outcome(row) for row in seen])
    await database.execute(f'ALTER DATABASE "{here}" RESET ALL')
    await database.engine.dispose()

    done = await undo(database, pass_id)

    assert (done.written, left(done)) == ({"running": 1}, {})
