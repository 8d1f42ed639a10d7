"""Failures encrypted by a real client, and what a pass writes about them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.worker import Worker

from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.model import Closed
from reconciler.settings.model import Settings
from tests.conftest import Database
from tests.support.network.codecs import Sealed, Server, sealing
from tests.support.temporal.workflows import Scripted, charge
from tests.support.temporal.world import World

IN_CHILD = (
    "child workflow Scripted [{id}/child] failed: "
    "activity charge failed (maximum attempts reached): PaymentDeclined: {message}"
)
TOKEN = "Bearer s3cret"


@pytest.fixture(scope="module")
async def sealed_queue(temporal: Client) -> AsyncIterator[str]:
    """The queue of a worker that encrypts everything, including failures."""
    name = f"sealed-{uuid4().hex}"
    async with Worker(
        with_converter(temporal), task_queue=name, workflows=[Scripted], activities=[charge]
    ):
        yield name


@pytest.fixture
def world(temporal: Client, sealed_queue: str, workflow_id: str) -> World:
    return World(with_converter(temporal), sealed_queue, workflow_id)


def with_converter(client: Client) -> Client:
    return Client(client.service_client, namespace=client.namespace, data_converter=sealing())


class Passes:
    """Rows of a workflow that failed in an activity of its child, and passes over them."""

    def __init__(self, database: Database, world: World) -> None:
        self.database, self.world = database, world
        self.lines: list[Any] = []

    async def text(self, **options: Any) -> str:
        """The text that a pass with these settings writes; keeps its log in `lines`."""
        row = await self.world.ended(await self.world.start("fail in a child", "no money"))
        id_ = await self.database.insert(self.world.workflow_id, row.run_id)
        settings = Settings(database_url=SecretStr(self.database.url), **options)
        temporal = {
            "target_host": self.world.client.service_client.config.target_host,
            "namespace": self.world.client.namespace,
        }
        with capture_logs() as lines:
            async with open_app(settings, writing=True, temporal=temporal) as app:
                report = await app.run_pass("once", dry_run=False)
        self.lines = lines
        assert (report.outcome.value, report.changed) == ("ok", 1)
        return str((await self.database.row(id_))["error_message"])

    def in_child(self, message: str) -> str:
        return IN_CHILD.format(id=self.world.workflow_id, message=message)

    @property
    def decoded(self) -> str:
        return self.in_child("no money")

    @property
    def encoded(self) -> str:
        return self.in_child("Encoded failure")

    @property
    def why(self) -> str:
        (line,) = [line for line in self.lines if line["log_level"] == "warning"]
        assert line["failures"] == 1
        return str(line["why"])


@pytest.fixture
def passes(database: Database, world: World) -> Passes:
    return Passes(database, world)


async def test_without_a_codec_names_and_types_are_written(passes: Passes) -> None:
    assert await passes.text() == passes.encoded
    assert not [line for line in passes.lines if line["log_level"] == "warning"]


async def test_with_the_data_converter(passes: Passes) -> None:
    text = await passes.text(data_converter="tests.support.network.codecs:sealing")

    assert text == passes.decoded


async def test_with_another_key(
    passes: Passes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "other_" + uuid4().hex
    source = "from tests.support.network.codecs import *\nconverter = sealing(Sealed('another'))\n"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert await passes.text(data_converter=f"{module}:converter") == passes.encoded
    assert passes.why == "ValueError in the data converter, decoding (1)"


async def test_with_a_codec_server(passes: Passes) -> None:
    headers = SecretStr(f"Authorization: {TOKEN}")
    async with Server(token=TOKEN).up() as server:
        text = await passes.text(codec_endpoint=server.url + "/{namespace}", codec_headers=headers)

    assert text == passes.decoded
    # One request for the failure with all its causes.
    assert [request.target for request in server.requests] == ["/default/decode"]
    assert len(json.loads(server.requests[0].body)["payloads"]) == 3


@pytest.mark.parametrize(
    ("server", "seconds", "why"),
    [
        pytest.param(Server(token=TOKEN), 5, "HTTP 401", id="refused"),
        pytest.param(Server(codec=Sealed("another")), 5, "HTTP 400", id="another key"),
        pytest.param(Server(answer=b""), 0.1, "no answer within 0.1 s", id="slow"),
    ],
)
async def test_with_a_codec_server_that_fails(
    passes: Passes, server: Server, seconds: float, why: str
) -> None:
    async with server.up():
        text = await passes.text(codec_endpoint=server.url, codec_timeout=seconds)

    assert text == passes.encoded
    assert why in passes.why


async def test_with_a_codec_server_that_is_down(passes: Passes) -> None:
    url = "http://127.0.0.1:1"

    assert await passes.text(codec_endpoint=url) == passes.encoded
    assert "no answer from the codec server" in passes.why


async def test_decoded_text_is_redacted(passes: Passes) -> None:
    text = await passes.text(
        data_converter="tests.support.network.codecs:sealing", redact=["money"]
    )

    assert text == passes.in_child("no [redacted]")


async def test_explaining_logs_what_could_not_be_decoded(
    passes: Passes, database: Database, world: World
) -> None:
    row = await world.ended(await world.start("fail", "no money"))
    await database.insert(world.workflow_id, row.run_id)
    settings = Settings(database_url=SecretStr(database.url), codec_endpoint="http://127.0.0.1:1")
    temporal = {"target_host": world.client.service_client.config.target_host}
    with capture_logs() as lines:
        async with open_app(settings, writing=False, temporal=temporal) as app:
            (explanation,) = await explain(app, world.workflow_id)
            assert app.undecoded == 1

    assert isinstance(explanation.observation, Closed)
    assert explanation.observation.failure == "OrderFailed: Encoded failure"
    assert [line["failures"] for line in lines if line["log_level"] == "warning"] == [1]
