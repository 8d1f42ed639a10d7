"""Every end is written as a pass would write it, and the history is what it is without us."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner

from reconciler.app.wiring import open_app
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.worker import ReconcilerPlugin
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.support.network.codecs import sealing
from tests.support.temporal.cancelling import cancel

LONG_AND_DIRTY = "line one\nline two\x00\t" + "ä" * 5000
RETRIED = {
    "retry_policy": RetryPolicy(maximum_attempts=3, initial_interval=timedelta(milliseconds=10))
}
ADDED_BY_A_REPORT = {
    "marker_recorded_event_attributes",
    "upsert_workflow_search_attributes_event_attributes",
}


@pytest.mark.parametrize(
    ("script", "text", "options"),
    [
        ("complete", "text", {}),
        ("fail", LONG_AND_DIRTY, {}),
        ("fail", "x" * 900_000, {}),
        ("fail", "no money", {"workflow": "Typed"}),
        ("fail in an activity", LONG_AND_DIRTY, {}),
        ("fail in a child", "no money", {}),
        ("cancel itself", "why", {}),
        ("wait", LONG_AND_DIRTY, {}),
        ("continue once", "", {}),
        ("fail until the third attempt", "", RETRIED),
        ("fail", "no money", RETRIED),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_the_same_as_by_a_pass(
    site: Site, monkeypatch: pytest.MonkeyPatch, script: str, text: str, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("RECONCILER_ERROR_MESSAGE_LIMIT", "4000")

    await written_alike(site, monkeypatch, script, text, **options)

    names = {event.WhichOneof("attributes") for event in await site.events()}
    assert not names & ADDED_BY_A_REPORT
    assert await site.reports() == 0


@pytest.mark.parametrize(
    "worker", [{"workflow_runner": UnsandboxedWorkflowRunner()}, {"debug_mode": True}]
)
async def test_without_the_sandbox_or_a_thread_for_the_workflow(
    site: Site, monkeypatch: pytest.MonkeyPatch, worker: dict[str, Any]
) -> None:
    await written_alike(site, monkeypatch, "fail", "no money", worker=worker)


@pytest.mark.parametrize("decodes", [True, False])
async def test_encrypted_and_redacted(
    temporal: Client,
    database: Database,
    workflow_id: str,
    monkeypatch: pytest.MonkeyPatch,
    decodes: bool,
) -> None:
    client = Client(temporal.service_client, namespace=temporal.namespace, data_converter=sealing())
    monkeypatch.setenv("RECONCILER_REDACT", r"\w+@[\w.]+")
    if decodes:
        sealed = "tests.support.network.codecs:sealing"
        monkeypatch.setenv("RECONCILER_DATA_CONVERTER", sealed)

    message = await written_alike(
        Site(client, database, workflow_id), monkeypatch, "fail", "for ada@example.org"
    )

    hidden = "for [redacted]" if decodes else "Encoded failure"
    assert message == f"OrderFailed: {hidden}"


async def written_alike(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    text: str,
    *,
    worker: dict[str, Any] | None = None,
    **options: Any,
) -> str | None:
    """Assert that a pass would write the same; returns the message."""
    plugin = ReconcilerPlugin(site.database.engine, report="after_close")
    async with site.worker(plugin, **(worker or {})):
        handle = await site.start(script, text, **options)
        if script == "wait":
            await site.world.first_task_done()
            await cancel(handle, text)
        closed = await site.closed(handle)
    by_worker = await site.row()
    await site.database.execute(
        "UPDATE workflow_executions"
        " SET status = 'running', completed_at = NULL, error_message = NULL"
    )
    monkeypatch.setenv("DATABASE_URL", site.database.url)
    temporal = {"target_host": site.client.service_client.config.target_host}
    async with open_app(load_settings(Settings), writing=True, temporal=temporal) as app:
        report = await app.run_pass("once", dry_run=False)

    assert report.changed == 1
    assert by_worker == await site.row()
    assert by_worker["completed_at"] == closed.close_time
    message: str | None = by_worker["error_message"]
    return message
