"""A loop runs for months: its next pass notices changes to the table."""

from __future__ import annotations

from functools import partial

import pytest
from pydantic import SecretStr

from reconciler.app.wiring import open_app
from reconciler.postgres.connection.engine import COMPILED_STATEMENTS, using_engine
from reconciler.postgres.rows.remapped import RemappedStore
from reconciler.postgres.rows.store import PostgresStore
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.servers import shared
from tests.support.temporal.world import World


async def test_a_column_may_change_between_two_passes(database: Database, world: World) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER id TYPE int")
    ended = await world.ended(await world.start("complete"))
    settings = Settings(database_url=SecretStr(database.url))
    temporal = {
        "target_host": world.client.service_client.config.target_host,
        "namespace": world.client.namespace,
    }
    async with open_app(settings, writing=True, temporal=temporal) as app:
        await database.insert(world.workflow_id, ended.run_id)
        first = await app.run_pass("run", dry_run=False, remap=True)
        await database.execute("ALTER TABLE workflow_executions ALTER id TYPE bigint")
        await database.execute(
            "INSERT INTO workflow_executions (id, workflow_id, run_id) OVERRIDING SYSTEM VALUE"
            " VALUES (3000000000, $1, $2)",
            world.workflow_id,
            ended.run_id,
        )
        second = await app.run_pass("run", dry_run=False, remap=True)

    assert (first.error, first.changed) == (None, 1)
    assert (second.error, second.changed) == (None, 1)


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
