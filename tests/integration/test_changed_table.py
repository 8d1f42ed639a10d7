"""A loop runs for months: its next pass notices changes to the table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from reconciler.app.wiring import open_app
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from reconciler.postgres.connection.engine import COMPILED_STATEMENTS, using_engine
from reconciler.postgres.rows.remapped import RemappedStore
from reconciler.postgres.rows.store import PostgresStore
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.servers import shared
from tests.support.temporal.world import World


@asynccontextmanager
async def loop_over(
    database: Database, world: World
) -> AsyncIterator[tuple[Callable[[], Awaitable[PassReport]], Callable[[], Awaitable[int]]]]:
    """Two functions: the loop's next pass, and one that inserts a row whose workflow has ended."""
    created = datetime.now(UTC)  # a row made after its workflow's end may be another run's
    ended = await world.ended(await world.start("complete"))
    settings = Settings(database_url=SecretStr(database.url))
    temporal = {
        "target_host": world.client.service_client.config.target_host,
        "namespace": world.client.namespace,
    }
    async with open_app(settings, writing=True, temporal=temporal) as app:
        yield (
            partial(app.run_pass, "run", dry_run=False, remap=True),
            partial(database.insert, world.workflow_id, ended.run_id, created_at=created),
        )


#: What migrations of an application do to a table, one after the other.
MIGRATIONS = {
    "columns come and go": [
        "ALTER TABLE workflow_executions ADD note text DEFAULT 'x'",
        "ALTER TABLE workflow_executions DROP note, ADD updated_at timestamptz",
    ],
    "columns get other types": [
        "ALTER TABLE workflow_executions ALTER id TYPE int",
        "ALTER TABLE workflow_executions ALTER id TYPE bigint",
        """ALTER TABLE workflow_executions ALTER workflow_id TYPE varchar(300),
           ALTER run_id TYPE varchar(60), ALTER error_message TYPE varchar(500),
           ALTER completed_at TYPE timestamptz(3)""",
    ],
    "a copy replaces the table": [
        """CREATE TABLE copy (LIKE workflow_executions INCLUDING ALL);
           INSERT INTO copy OVERRIDING SYSTEM VALUE SELECT * FROM workflow_executions;
           DROP TABLE workflow_executions;
           ALTER TABLE copy RENAME TO workflow_executions;
           SELECT setval(pg_get_serial_sequence('workflow_executions', 'id'), 1000)""",
    ],
}


@pytest.mark.parametrize("migrations", MIGRATIONS.values(), ids=MIGRATIONS)
async def test_a_pass_repairs_the_rows_of_a_migrated_table(
    database: Database, world: World, migrations: Sequence[str]
) -> None:
    async with loop_over(database, world) as (next_pass, insert):
        for migration in ["SELECT 1", *migrations]:
            await database.execute(migration)
            await insert()

            report = await next_pass()

            assert (report.error, report.changed) == (None, 1)


ENUM = "CREATE TYPE state AS ENUM ('running', 'completed', 'failed')"
TO_ENUM = """DROP INDEX IF EXISTS reconciler_workflow_executions_running,
    reconciler_workflow_executions_workflow_id;
    ALTER TABLE workflow_executions ALTER status DROP DEFAULT,
    ALTER status TYPE state USING status::text::state,
    ALTER status SET DEFAULT 'running'::state"""
TO_TEXT = """DROP INDEX IF EXISTS reconciler_workflow_executions_running,
    reconciler_workflow_executions_workflow_id;
    ALTER TABLE workflow_executions ALTER status DROP DEFAULT,
    ALTER status TYPE text, ALTER status SET DEFAULT 'running'"""
#: What a table was before, and what a migration makes of it after a pass has read its rows.
WHILE_ASKED = {
    "columns come and go": (
        "ALTER TABLE workflow_executions ADD note text DEFAULT 'x'",
        "ALTER TABLE workflow_executions DROP note, ADD updated_at timestamptz",
    ),
    "a shorter key": ("SELECT 1", "ALTER TABLE workflow_executions ALTER id TYPE int"),
    "a key as text": (
        "SELECT 1",
        """ALTER TABLE workflow_executions ALTER id DROP IDENTITY;
           ALTER TABLE workflow_executions ALTER id TYPE text,
           ALTER id SET DEFAULT floor(random() * 1e8)::int::text""",
    ),
    "limited columns": (
        "SELECT 1",
        """ALTER TABLE workflow_executions ALTER workflow_id TYPE varchar(300),
           ALTER run_id TYPE varchar(60), ALTER error_message TYPE varchar(500),
           ALTER completed_at TYPE timestamptz(3)""",
    ),
    "run ids as uuid": (
        "SELECT 1",
        "ALTER TABLE workflow_executions ALTER run_id TYPE uuid USING run_id::uuid",
    ),
    "another status": (f"{ENUM}; {TO_ENUM}", "ALTER TYPE state ADD VALUE 'paused' BEFORE 'failed'"),
    "the type again": (
        f"{ENUM}; {TO_ENUM}",
        f"ALTER TYPE state RENAME TO old; {ENUM}; {TO_ENUM}; DROP TYPE old",
    ),
    "text to an enum": ("SELECT 1", f"{ENUM}; {TO_ENUM}"),
    "an enum to text": (f"{ENUM}; {TO_ENUM}", f"{TO_TEXT}; DROP TYPE state"),
}


@pytest.mark.parametrize(("before", "migration"), WHILE_ASKED.values(), ids=WHILE_ASKED)
async def test_a_migration_while_temporal_is_asked(
    database: Database,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    migration: str,
) -> None:
    """The pass writes, or its result says that it did not; the next one repairs the rows."""
    await database.execute(before)
    migrations, write = [migration], PostgresStore.finish_if_running

    async def migrated(self: PostgresStore, *arguments: Any) -> Written:
        while migrations:
            await database.execute(migrations.pop())
        return await write(self, *arguments)

    monkeypatch.setattr(PostgresStore, "finish_if_running", migrated)
    async with loop_over(database, world) as (next_pass, insert):
        for _ in range(3):
            await insert()
        during = await next_pass()
        await insert()
        after = await next_pass()

    assert during.changed in (0, 3)
    assert during.changed or during.error or during.tally.refused
    assert (after.error, after.changed) == (None, 4 - during.changed)


async def test_a_renamed_column_ends_the_pass_and_may_come_back(
    database: Database, world: World
) -> None:
    async with loop_over(database, world) as (next_pass, insert):
        await insert()
        await database.execute("ALTER TABLE workflow_executions RENAME status TO state")
        without = await next_pass()
        await database.execute("ALTER TABLE workflow_executions RENAME state TO status")
        again = await next_pass()

    assert "no column status: set RECONCILER_COLUMNS__STATUS" in str(without.error)
    assert (again.error, again.changed) == (None, 1)


async def test_statements_of_old_mappings_do_not_pile_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "SHARING", False)
    mapping = Settings(database_url=SecretStr(database.url)).table_mapping()
    async with using_engine(database.url) as engine:
        for _ in range(100):
            await RemappedStore(engine, mapping, partial(PostgresStore, engine)).last_running()

        # SQLAlchemy lets the cache grow by half before it drops the least recently used.
        assert len(engine.sync_engine._compiled_cache or ()) <= 1.5 * COMPILED_STATEMENTS
