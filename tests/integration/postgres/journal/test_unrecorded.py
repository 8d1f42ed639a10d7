"""What stands in for our schema where there is none."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.unrecorded import NoHistory
from reconciler.postgres.migrate.upgrade import migrate, migration_sql
from reconciler.postgres.table.names import TableMapping
from tests.conftest import Database

MAPPING = TableMapping()


def ended(**fields: object) -> PassReport:
    report = PassReport("1", PassRequest("run"), started_at=datetime.now(UTC))
    report.duration_seconds = 2.5
    for name, value in fields.items():
        setattr(report, name, value)
    return report


async def test_the_heartbeat_is_the_last_good_pass_by_the_databases_clock(
    empty_database: Database,
) -> None:
    now = 1000.0
    history = NoHistory(empty_database.engine, clock=lambda: now)
    assert await history.heartbeat() is None
    last = ended()
    await history.on_pass(last)
    now += 60

    beat = await history.heartbeat()

    assert beat is not None
    assert beat.read_at - beat.finished_at == timedelta(seconds=60)
    assert beat.duration == timedelta(seconds=2.5)
    assert beat.pass_id == last.pass_id


async def test_a_pass_that_has_not_come_to_its_end_is_no_heartbeat(
    empty_database: Database,
) -> None:
    history = NoHistory(empty_database.engine)
    await history.on_pass(ended(error="away"))

    assert await history.heartbeat() is None


async def test_a_database_that_is_away_is_told() -> None:
    async with using_engine("postgresql://nobody@127.0.0.1:1/app") as engine:
        history = NoHistory(engine)
        await history.on_pass(ended())

        with pytest.raises(DatabaseUnusable, match="unreachable"):
            await history.heartbeat()


class TestMigrate:
    """Fits the application's table, and makes nothing of ours."""

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
