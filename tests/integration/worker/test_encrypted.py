"""Main path and reconciler write the same on a worker that encrypts its failures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from reconciler.app.wiring import open_app
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.worker import ReconcilerPlugin
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.support.network.codecs import Server, sealing
from tests.support.temporal.workflows import Scripted

DECODING = {"data_converter": "tests.support.network.codecs:sealing"}
CHARGE = "activity charge failed (maximum attempts reached): PaymentDeclined: "
LONG_AND_DIRTY = "line one\nline two\x00\t" + "ä" * 5000


@pytest.fixture
def sealed(temporal: Client, database: Database, workflow_id: str) -> Site:
    client = Client(temporal.service_client, namespace=temporal.namespace, data_converter=sealing())
    return Site(client, database, workflow_id)


async def messages(
    site: Site, script: str, text: str, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[str, str]:
    """The message by the main path with these settings, and that by a pass over the same row."""
    for name, value in options.items():
        monkeypatch.setenv(f"RECONCILER_{name.upper()}", value)
    async with site.worker():
        await site.closed(await site.start(script, text))
    by_plugin = (await site.row())["error_message"]
    await site.database.execute("UPDATE workflow_executions SET status = 'running'")
    monkeypatch.setenv("DATABASE_URL", site.database.url)
    settings = load_settings(Settings)
    temporal = {"target_host": site.client.service_client.config.target_host}
    async with open_app(settings, writing=True, temporal=temporal) as app:
        report = await app.run_pass("once", dry_run=False)
    assert report.changed == 1
    return by_plugin, (await site.row())["error_message"]


@pytest.mark.parametrize(
    ("script", "text", "expected"),
    [
        ("fail", "no money", "OrderFailed: no money"),
        ("fail", LONG_AND_DIRTY, None),
        ("fail without a type", "no money", "no money"),
        ("fail in an activity", "no money", f"{CHARGE}no money"),
        (
            "fail, wrapping an activity's failure",
            "no money",
            f"OrderFailed: order 17: {CHARGE}no money",
        ),
        ("time out in an activity", "", None),
        ("cancel an activity of its own", "", None),
        ("fail in a child", "no money", None),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_decoded_if_the_settings_say_so(
    sealed: Site, monkeypatch: pytest.MonkeyPatch, script: str, text: str, expected: str | None
) -> None:
    by_plugin, by_pass = await messages(sealed, script, text, monkeypatch, **DECODING)

    assert by_plugin == by_pass
    assert "Encoded failure" not in by_pass
    assert expected in (by_pass, None)


async def test_with_a_codec_server(sealed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server().up() as server:
        by_plugin, by_pass = await messages(
            sealed, "fail", "no money", monkeypatch, codec_endpoint=server.url
        )

    assert by_plugin == by_pass == "OrderFailed: no money"


@pytest.mark.parametrize("script", ["fail", "fail in an activity", "fail in a child"])
async def test_encoded_otherwise(
    sealed: Site, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    by_plugin, by_pass = await messages(sealed, script, "no money", monkeypatch)

    assert by_plugin == by_pass
    assert by_pass.endswith(": Encoded failure")


async def test_redacted(sealed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hiding = {**DECODING, "redact": r"\w+@[\w.]+"}

    by_plugin, by_pass = await messages(sealed, "fail", "ada@example.org", monkeypatch, **hiding)

    assert by_plugin == by_pass == "OrderFailed: [redacted]"


async def test_temporal_gets_no_plain_text(sealed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await messages(sealed, "fail in an activity", "no money", monkeypatch, **DECODING)

    history = await sealed.client.get_workflow_handle(sealed.workflow_id).fetch_history()
    assert not [event for event in history.events if b"no money" in event.SerializeToString()]
    # The history can be replayed.
    replayer = Replayer(
        workflows=[Scripted], plugins=[ReconcilerPlugin()], data_converter=sealing()
    )
    await replayer.replay_workflow(history)


async def test_a_report_is_one_argument(site: Site) -> None:
    async with site.worker():
        await site.closed(await site.start("fail"))

    (report,) = await site.report_events()
    (argument,) = report.activity_task_scheduled_event_attributes.input.payloads
    (text,) = await DataConverter.default.decode([argument])
    assert set(json.loads(text)) == {
        "workflow_id",
        "status",
        "run_id",
        "start_time",
        "error_message",
    }
