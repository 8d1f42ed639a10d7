"""A loop runs for months: its next pass notices changes to the table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
from pydantic import SecretStr

from reconciler.app.wiring import open_app
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
    ended = await world.ended(await world.start("complete"))
    settings = Settings(database_url=SecretStr(database.url))
    temporal = {
        "target_host": world.client.service_client.config.target_host,
        "namespace": world.client.namespace,
    }
    async with open_app(settings, writing=True, temporal=temporal) as app:
        yield (
            partial(app.run_pass, "run", dry_run=False, remap=True),
            partial(database.insert, world.workflow_id, ended.run_id),
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
