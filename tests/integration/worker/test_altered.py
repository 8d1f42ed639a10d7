"""A table that is altered while a worker runs: the next write uses its new definition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from reconciler.core.errors import DatabaseUnfit
from reconciler.worker.database.sources import Sources
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport
from tests.conftest import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OWN, APPLICATIONS = "own", "the application's"
pytestmark = pytest.mark.parametrize("whose", [OWN, APPLICATIONS])


@asynccontextmanager
async def written_before(
    database: Database, whose: str, monkeypatch: pytest.MonkeyPatch, connections: int = 1
) -> AsyncIterator[RowWriter]:
    """A writer that has written a row and mapped the table."""
    monkeypatch.setenv("DATABASE_URL", database.url)
    application = create_async_engine(
        make_url(database.url).set(drivername="postgresql+asyncpg"), pool_size=connections
    )
    opened = Sources(None if whose == OWN else application).of().open()
    await database.insert("v", "r")
    assert await finish(opened, "v") is True
    await database.insert("w", "r")
    try:
        yield opened
    finally:
        await opened.close()
        await application.dispose()


async def finish(opened: RowWriter, workflow_id: str = "w") -> bool:
    return await opened.finish(EndReport(workflow_id, "failed", "r", NOON, "x" * 99), None, NOON)


@pytest.mark.parametrize(
    "alter",
    [
        (
            "ALTER TABLE workflow_executions ALTER status DROP DEFAULT;"
            "CREATE TYPE state AS ENUM ('running', 'completed', 'failed');"
            "DROP INDEX IF EXISTS reconciler_running;"
            "ALTER TABLE workflow_executions ALTER status TYPE state USING status::state"
        ),
        (
            "ALTER TABLE workflow_executions ALTER error_message TYPE varchar(9)"
            " USING left(error_message, 9)"
        ),
        (
            "ALTER TABLE workflow_executions ALTER completed_at TYPE timestamp"
            " USING completed_at AT TIME ZONE 'UTC'"
        ),
        "ALTER TABLE workflow_executions ALTER workflow_id TYPE varchar(200)",
        "ALTER TABLE workflow_executions ADD tenant text",
        (
            "ALTER TABLE workflow_executions DROP run_id;"
            "ALTER TABLE workflow_executions ADD run_id varchar(40);"
            "UPDATE workflow_executions SET run_id = 'r'"
        ),
        (
            "ALTER TABLE workflow_executions RENAME TO old;"
            "CREATE TABLE workflow_executions (LIKE old INCLUDING ALL);"
            "INSERT INTO workflow_executions OVERRIDING SYSTEM VALUE SELECT * FROM old"
        ),
    ],
    ids=["enum", "shorter", "without zone", "varchar", "added", "other run id", "swapped"],
)
async def test_its_row_is_still_written(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str, alter: str
) -> None:
    async with written_before(database, whose, monkeypatch) as opened:
        indexes = await database.fetch(
            "SELECT indexrelid::regclass::text AS name FROM pg_index"
            " WHERE indrelid = 'workflow_executions'::regclass AND indpred IS NOT NULL"
        )
        for index in indexes:
            await database.execute(f"DROP INDEX {index['name']}")
        await database.execute(alter)

        assert await finish(opened) is True


async def test_reports_that_fail_at_the_same_time_are_all_repeated(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    workflows = ["w", "x", "y", "z"]
    for each in workflows[1:]:
        await database.insert(each, "r")
    async with written_before(database, whose, monkeypatch, len(workflows)) as opened:
        await asyncio.gather(*(finish(opened, "v") for _ in workflows))
        await database.execute(
            "ALTER TABLE workflow_executions ALTER completed_at TYPE timestamp"
            " USING completed_at AT TIME ZONE 'UTC'"
        )

        assert await asyncio.gather(*(finish(opened, each) for each in workflows)) == [True] * 4


@pytest.mark.parametrize("to_zone", [True, False])
async def test_a_time_is_not_converted_in_the_session_s_time_zone(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str, to_zone: bool
) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    types = ["timestamptz", "timestamp"]
    alter = (
        "ALTER TABLE workflow_executions ALTER completed_at TYPE {}"
        " USING completed_at AT TIME ZONE 'UTC'"
    ).format
    if to_zone:
        types.reverse()
        await database.execute(alter(types[0]))
    async with written_before(database, whose, monkeypatch) as opened:
        await database.execute(alter(types[1]))

        assert await finish(opened) is True

    rows = await database.fetch("SELECT completed_at FROM workflow_executions")
    expected = NOON if to_zone else NOON.replace(tzinfo=None)
    assert [row["completed_at"] for row in rows] == [expected] * 2


async def test_a_missing_column_is_named_and_may_come_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    rename = "ALTER TABLE workflow_executions RENAME {} TO {}".format
    async with written_before(database, whose, monkeypatch) as opened:
        await database.execute(rename("error_message", "reason"))
        with pytest.raises(DatabaseUnfit, match="no column error_message"):
            await finish(opened)
        await database.execute(rename("reason", "error_message"))

        assert await finish(opened) is True
