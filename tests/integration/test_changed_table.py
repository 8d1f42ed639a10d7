"""A loop lives for months: what changes in the table meanwhile is seen by the next pass."""

from __future__ import annotations

from pydantic import SecretStr

from reconciler.app.wiring import open_app
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.temporal.world import World


async def test_a_column_that_is_changed_between_two_passes(
    database: Database, world: World
) -> None:
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
