"""The few rows that `doctor` asks Temporal about."""

from __future__ import annotations

from reconciler.postgres.diagnose.sample import last_rows
from tests.conftest import Database


async def test_rows_without_a_run_id_do_not_hide_those_with_one(database: Database) -> None:
    for number in range(3):
        await database.insert(f"with-{number}", f"run-{number}")
    for number in range(10):
        await database.insert(f"without-{number}")

    rows = await last_rows(database.engine, await database.table(), 10)

    assert [row.workflow_id for row in rows] == ["with-2", "with-1", "with-0"]
