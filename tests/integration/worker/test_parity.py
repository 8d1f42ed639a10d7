"""The main path and the reconciler write the same for the same end."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from reconciler.app.wiring import open_app
from reconciler.core.model import Closed
from reconciler.settings.model import Settings
from reconciler.temporal.client.execution_info import to_datetime
from tests.integration.worker.conftest import Site
from tests.support.temporal.cancelling import cancel

LONG_AND_DIRTY = "line one\nline two\x00\t" + "ä" * 5000


@pytest.mark.parametrize(
    ("script", "text", "options"),
    [
        ("complete", "text", {}),
        ("fail", LONG_AND_DIRTY, {}),
        ("fail", "x" * 900_000, {}),
        ("fail", "cut in white space" + " " * 20_000 + "x", {}),
        ("fail", "no money", {"workflow": "Typed"}),
        ("fail in an activity", LONG_AND_DIRTY, {}),
        ("fail in a child", "no money", {}),
        ("cancel an activity of its own", "", {}),
        ("wait", LONG_AND_DIRTY, {}),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_the_same_end(site: Site, script: str, text: str, options: dict[str, Any]) -> None:
    by_plugin, closed = await run(site, script, text, options)
    reported = [to_datetime(event.event_time) for event in await site.report_events()]
    # Use the same workflow id: some texts contain it.
    await site.database.execute("ALTER TABLE workflow_executions RENAME completed_at TO ended")
    blocked, closed_again = await run(site, script, text, options)
    await site.database.execute("ALTER TABLE workflow_executions RENAME ended TO completed_at")
    await reconcile(site)
    by_pass = (await site.rows())[-1]

    assert blocked["status"] == "running"
    assert (by_plugin["status"], by_plugin["error_message"]) == (
        by_pass["status"],
        by_pass["error_message"],
    )
    assert closed.status is closed_again.status
    assert by_pass["completed_at"] == closed_again.close_time
    # They differ by the time of the write: the plugin uses the time when it was scheduled.
    assert [by_plugin["completed_at"]] == reported
    assert by_plugin["completed_at"] <= closed.close_time


async def run(
    site: Site, script: str, text: str, options: dict[str, Any]
) -> tuple[dict[str, Any], Closed]:
    """Run a workflow; return the newest row and Temporal's description of the end."""
    async with site.worker():
        handle = await site.start(script, text, **options)
        if script.startswith("wait"):
            await site.world.first_task_done()
            await cancel(handle, text)
        closed = await site.closed(handle)
    rows = await site.database.fetch("SELECT * FROM workflow_executions ORDER BY id")
    return rows[-1], closed


async def reconcile(site: Site) -> None:
    settings = Settings(database_url=SecretStr(site.database.url))
    temporal = {
        "target_host": site.client.service_client.config.target_host,
        "namespace": site.client.namespace,
    }
    async with open_app(settings, writing=True, temporal=temporal) as app:
        report = await app.run_pass("once", dry_run=False)
    assert report.changed == 1
