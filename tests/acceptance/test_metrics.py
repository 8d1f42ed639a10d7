"""What the alerts and the dashboard ask for is what a real scrape has."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from reconciler.core.missed_writes import MAIN_PATH_TIME
from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import daemon
from tests.support.commands.open_stage import DELAY
from tests.support.monitoring import missing_from
from tests.support.polling import eventually
from tests.support.temporal.world import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


async def test_a_real_scrape(reconciler: Command, database: Database, world: World) -> None:
    failed = await world.ended(await world.start("fail"))
    await database.insert(failed.workflow_id, failed.run_id)
    closed_at = await world.close_time()

    async def main_path_had_its_time() -> bool:
        return datetime.now(UTC) - closed_at > MAIN_PATH_TIME

    await eventually(main_path_had_its_time)
    yesterday = datetime.now(UTC) - timedelta(hours=12)
    await database.insert("never started", str(uuid4()), created_at=yesterday)
    delayed = await world.start("wait", id=f"{failed.workflow_id}-delayed", start_delay=DELAY)
    await database.insert(delayed.id, delayed.first_execution_run_id)
    async with daemon(reconciler) as running:
        await running.said("row_finished")
        await eventually(running.ready)
        scrape = (await running.get("/metrics")).text
        assert await running.metric("reconciler_feed_off") == 0
        assert (await running.get("/readyz")).json()["feed"] is None
    await delayed.terminate()

    families = {family.name for family in text_string_to_metric_families(scrape)}
    # Counters are named with _total, wherever there are people.
    documented = {
        name.removesuffix("_total")
        for name in re.findall(r"^\| `([a-z_]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    }
    assert missing_from(scrape) == []
    assert families == documented


async def test_a_replica_that_is_ready_has_the_metrics_of_its_pass(
    reconciler: Command, database: Database
) -> None:
    """However long the history of older passes takes to prune once the end is recorded."""
    async with (
        asyncpg.create_pool(database.url, min_size=1, max_size=1) as pool,
        pool.acquire() as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE reconciler.changes IN SHARE MODE")
        async with daemon(reconciler) as running:
            await eventually(running.ready)

            assert await running.metric("reconciler_running_rows") == 0
