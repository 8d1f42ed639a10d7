"""The page of a real `reconciler run` in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser, expect

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import daemon
from tests.support.page.tab import opened_tab
from tests.support.polling import PATIENCE, eventually
from tests.support.temporal.world import World


async def test_it_shows_what_happens_without_a_reload(
    browser: Browser, database: Database, world: World, temporal_address: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": database.url, "TEMPORAL_ADDRESS": temporal_address}
    async with daemon(Command(environment, tmp_path), RECONCILER_GRACE="0s") as running:
        await eventually(running.ready)
        port = (await running.said("http_listening"))["port"]
        async with opened_tab(browser, f"http://localhost:{port}/") as tab:
            patient = PATIENCE * 1000
            await expect(tab.page.get_by_role("status")).to_have_text("Working", timeout=patient)

            row = await world.ended(await world.start("fail", "no <money>"))
            await database.insert(world.workflow_id, row.run_id)
            change = tab.page.get_by_role("link", name=world.workflow_id)
            await expect(change).to_be_visible(timeout=patient)

            await change.click()
            error = tab.page.get_by_text("OrderFailed: no <money>").first
            await expect(error).to_be_visible(timeout=patient)
            assert (await tab.violations(), tab.complaints) == ([], [])
