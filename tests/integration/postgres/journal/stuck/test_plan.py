"""What finding the rows of entries costs does not depend on how many others are running."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from tests.conftest import Database
from tests.integration.postgres.rows.test_write_plan import JOBS, KEYS
from tests.support.stuck import Entries, row_at_risk, stuck_row


@pytest.mark.parametrize("analysed", ["too early", "in time"])
@pytest.mark.parametrize(("key", "partitions"), KEYS)
async def test_each_row_is_found_by_its_key_whatever_the_statistics_say(
    database: Database, key: str, partitions: str, analysed: str
) -> None:
    await database.execute(
        "CREATE TABLE jobs (id bigint, workflow_id text, run_id text, status text, created_at"
        f" timestamptz, completed_at timestamptz, error_message text, PRIMARY KEY ({key}))"
        f"{partitions}"
    )
    await migrate(database.url, TableMapping(JOBS))
    await database.execute(
        "INSERT INTO jobs SELECT n, 'before', 'r', 'completed', '2025-12-31'"
        " FROM generate_series(1, 2000) n;"
        "ANALYZE jobs;"
        "INSERT INTO jobs SELECT n, 'wf-' || n, 'r', 'running', '2026-01-02'"
        " FROM generate_series(2001, 22000) n;"
        f"{'ANALYZE jobs' if analysed == 'in time' else ''}"
    )
    entries = await Entries.of(database, JOBS)
    await entries.record([*map(stuck_row, range(2001, 2501))], [row_at_risk(3000)], [])
    sent: list[tuple[str, Any]] = []

    @sa.event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append((statement, parameters))

    await entries.forget_ended()
    await entries.shown.groups()
    await entries.shown.at_risk()

    assert len((await entries.known([*range(2001, 2501)])).stuck) == 500
    about_rows = [each for each in sent if "jobs" in each[0] and "SELECT true" in each[0]]
    assert len(about_rows) == 4
    async with database.engine.connect() as connection:
        for statement, parameters in about_rows:
            lines = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plan = "\n".join(lines.scalars())
            assert "Seq Scan on jobs" not in plan
            assert "Index Cond: (id = (" in plan
