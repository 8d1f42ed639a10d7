"""The team's codec is tried on a sample before a failure needs it."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.doctor.checks.codec import check_codec
from reconciler.doctor.findings import Finding, Level
from reconciler.settings.model import Settings
from tests.support.network.codecs import Server

SECRET = "Bearer s3cret"


async def codec(**settings: Any) -> Finding:
    url = "postgresql://db/app"
    return await check_codec(Settings(database_url=url, **settings), "default")


async def test_no_codec_is_ok() -> None:
    finding = await codec()

    assert finding.level is Level.OK
    assert finding.message == "none: failures are written as Temporal has them"


async def test_a_data_converter_that_works() -> None:
    finding = await codec(data_converter="tests.support.network.codecs:sealing")

    assert finding.level is Level.OK
    assert finding.message == (
        "the data converter decodes a sample: encoded as binary/sealed, and decoded"
    )
    assert not [each for each in threading.enumerate() if each.name == "data-converter"]


async def test_a_data_converter_that_cannot_be_imported_is_a_failure() -> None:
    finding = await codec(data_converter="tests.nowhere:converter")

    assert finding.level is Level.FAILURE
    assert "there is no module tests.nowhere" in finding.message
    assert finding.fix == "check RECONCILER_DATA_CONVERTER"


async def test_a_data_converter_that_does_not_decode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "losing_keys.py").write_text(
        "from tests.support.network.codecs import Sealed, sealing\n"
        "class Losing(Sealed):\n"
        "    async def decode(self, payloads):\n"
        "        raise LookupError('s3cret')\n"
        "converter = sealing(Losing())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    finding = await codec(data_converter="losing_keys:converter")

    assert finding.level is Level.WARNING, "passes work, and write the encoded text"
    assert finding.message == (
        "the data converter fails on a sample, so failures keep their encoded text: "
        "LookupError in the data converter, decoding"
    )
    assert finding.fix == "check RECONCILER_DATA_CONVERTER"


async def test_a_codec_server_that_works() -> None:
    async with Server(token=SECRET).up() as server:
        finding = await codec(codec_endpoint=server.url, codec_headers=f"Authorization: {SECRET}")

    assert finding.level is Level.OK
    assert finding.message == "the codec server decodes a sample: encoded and decoded"


async def test_a_codec_server_that_refuses_its_header() -> None:
    async with Server(token=SECRET[::-1]).up() as server:
        finding = await codec(codec_endpoint=server.url, codec_headers=f"Authorization: {SECRET}")

    assert finding.level is Level.WARNING
    assert finding.message.endswith(
        "the codec server answered HTTP 401 (see RECONCILER_CODEC_HEADERS)"
    )
    assert finding.fix == "check RECONCILER_CODEC_ENDPOINT and RECONCILER_CODEC_HEADERS"
    assert SECRET not in str(finding)


async def test_a_codec_server_that_is_down() -> None:
    finding = await codec(codec_endpoint="http://127.0.0.1:1")

    assert finding.level is Level.WARNING
    assert "no answer from the codec server" in finding.message
    assert finding.fix == "check RECONCILER_CODEC_ENDPOINT and RECONCILER_CODEC_HEADERS"


@pytest.mark.parametrize(
    ("setting", "ours", "text"), [(0.1, 15, "0.1 s"), (60, 0.2, "0.2 s")], ids=["setting", "ours"]
)
async def test_a_codec_that_hangs_is_a_warning(
    setting: float, ours: float, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.doctor.checks.codec.CHECK_TIMEOUT", ours)
    async with Server(answer=b"").up() as server:
        finding = await codec(codec_endpoint=server.url, codec_timeout=timedelta(seconds=setting))

    assert finding.level is Level.WARNING
    assert finding.message.endswith(f"no answer within {text}")
