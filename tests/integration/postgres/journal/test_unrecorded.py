"""A database without reconciler's schema."""

from __future__ import annotations

import io
from datetime import timedelta

from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.journal.unrecorded import NoHistory
from reconciler.postgres.migrate.upgrade import migrate, migration_sql
from reconciler.postgres.table.names import TableMapping
from tests.conftest import Database
from tests.support.factories import NOW

MAPPING = TableMapping()


async def test_the_age_of_the_heartbeat_is_measured_by_the_clock_of_the_process(
    empty_database: Database,
) -> None:
    now = 1000.0
    history = NoHistory(empty_database.engine, clock=lambda: now)
    await history.end(PassReport("1", PassRequest("run"), NOW))
    now += 60

    beat = await history.heartbeat()

    assert beat is not None
    assert beat.read_at - beat.finished_at == timedelta(seconds=60)


class TestMigrate:
    """Migrates the application's table only."""

    async def schemas(self, database: Database) -> list[str]:
        rows = await database.fetch(
            "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'"
        )
        return sorted(str(row["nspname"]) for row in rows)

    async def test_a_table_that_lacks_something(self, empty_database: Database) -> None:
        await empty_database.execute(
            "CREATE TABLE workflow_executions (id bigint PRIMARY KEY, workflow_id text,"
            " run_id text, status text, created_at timestamptz)"
        )

        done = await migrate(empty_database.url, MAPPING, own_schema=False)
        again = await migrate(empty_database.url, MAPPING, own_schema=False)

        assert done == [
            "table workflow_executions: added column completed_at",
            "table workflow_executions: added column error_message",
            "table workflow_executions: built index reconciler_workflow_executions_running",
            "table workflow_executions: built index reconciler_workflow_executions_workflow_id",
        ]
        assert again == []
        assert await self.schemas(empty_database) == ["information_schema", "public"]
        await empty_database.table()

    async def test_no_table(self, empty_database: Database) -> None:
        done = await migrate(empty_database.url, MAPPING, own_schema=False)

        assert done[0] == "table workflow_executions: created"
        assert await self.schemas(empty_database) == ["information_schema", "public"]

    async def test_as_sql(self, empty_database: Database) -> None:
        output = io.StringIO()
        await migration_sql(empty_database.url, MAPPING, output, own_schema=False)

        assert "CREATE TABLE workflow_executions" in output.getvalue()
        assert "reconciler." not in output.getvalue()
        assert "SCHEMA" not in output.getvalue()
