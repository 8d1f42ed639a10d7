"""What one `reconciler worker` connects to: its targets, and Temporal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from reconciler.app.wiring import Shared, open_app
from reconciler.core.window import EVERY
from reconciler.fleet.apps import Apps
from reconciler.fleet.messages import Previewed
from reconciler.fleet.previewed import preview
from reconciler.fleet.range_pass import at_its_rate
from reconciler.fleet.tasks import Work
from reconciler.settings.model import Settings
from reconciler.settings.targets import load_targets
from reconciler.temporal.config.load import load_config
from tests.conftest import Database
from tests.integration.fleet.test_chaos import fleet_on
from tests.support.commands.fleet import SPEED, Fleet
from tests.support.servers.restartable import restartable_temporal


@pytest.mark.long
async def test_a_worker_that_starts_before_temporal_waits_for_it(
    database: Database, tmp_path: Path
) -> None:
    async with (
        restartable_temporal() as server,
        fleet_on(server, database, tmp_path) as fleet,
    ):
        await fleet.stage.insert(await fleet.stage.closed(), 3)
        await server.kill()
        async with fleet.launched() as worker:
            failed = await worker.said("server_unusable")
            assert f"Temporal at {server.address} is unreachable" in failed["error"]
            await server.start()
            await worker.said("worker_started")
            result = await (await fleet.start()).result()

    assert result.report["written"]["failed"] == 3


async def test_two_tables_of_a_database_share_the_connection_and_the_pool(
    fleet: Fleet, temporal_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("DATABASE_URL", fleet.stage.database.url)
    monkeypatch.chdir(tmp_path)
    Path("reconciler.toml").write_text("[targets.a]\n[targets.b]\ntable = 'other'\n")
    await fleet.stage.database.execute(
        "CREATE TABLE other (LIKE workflow_executions INCLUDING ALL)"
    )
    each = load_targets()
    shared = Shared([(one, load_config(one.temporal_environment())) for one in each])
    apps = Apps({one.target: one for one in each}, shared)
    first, second = [Work(str(uuid4()), await previewed(one), SPEED, False) for one in each]

    async with apps.using(first, begins=True) as a, apps.using(second, begins=True) as b:
        assert (a.settings.target, b.settings.target) == ("a", "b")
        assert a.engine is b.engine
        assert a.rpc.client.service_client is b.rpc.client.service_client
    await apps.close()


@pytest.mark.parametrize(
    ("max_rps", "rate"), [(120, 30), (0, float("inf"))], ids=["limited", "unlimited"]
)
async def test_a_range_has_its_share_of_the_rate_whatever_its_worker_is_set_to(
    fleet: Fleet, temporal_address: str, max_rps: float, rate: float
) -> None:
    speed = replace(SPEED, workers=4, max_rps=max_rps, visibility_rps=20)
    url, temporal = fleet.stage.database.url, {"target_host": temporal_address}
    own = Settings(database_url=url, max_rps=7, visibility_rps=3)
    async with open_app(own, writing=True, temporal=temporal) as app:
        of_range = at_its_rate(app, speed)

        assert (of_range.rpc.rate, of_range.rpc.list_rate) == (rate, 5)
        # All questions are asked at this rate, those about stuck workflows included.
        assert of_range.probe is not app.probe
        assert of_range.diagnosis is not app.diagnosis


async def previewed(settings: Settings) -> Previewed:
    async with open_app(settings, writing=True) as app:
        return await preview(app, EVERY)
