"""An API key with a real Temporal: sent with each call, and renewed while running."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import TemporalUnfit
from reconciler.temporal.client.connect import connect
from reconciler.temporal.client.error_codes import NotFound
from reconciler.temporal.config.load import load_config
from tests.support.network.gateway import gateway


async def test_a_key_is_sent_with_each_call(temporal_address: str) -> None:
    async with gateway(temporal_address, key="right") as gate:
        variables = {"TEMPORAL_ADDRESS": gate.address, "TEMPORAL_TLS": "false"}
        await connect(load_config(variables | {"TEMPORAL_API_KEY": "right"}), 0)

        assert set(gate.seen) == {"Bearer right"}
        with pytest.raises(TemporalUnfit, match=r"Jwt is expired\): check TEMPORAL_API_KEY"):
            await connect(load_config(variables | {"TEMPORAL_API_KEY": "wrong"}), 0)


async def test_a_key_is_renewed_when_its_file_changes(
    temporal_address: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("old\n")
    async with gateway(temporal_address, key="old") as gate:
        config = load_config(
            {
                "TEMPORAL_ADDRESS": gate.address,
                "TEMPORAL_TLS": "false",
                "TEMPORAL_API_KEY_FILE": str(file),
            }
        )
        rpc, _ = await connect(config, 0)
        other = rpc.in_namespace("other")
        with pytest.raises(NotFound):
            await rpc.describe("any")
        gate.seen.clear()

        gate.key = "new"
        file.write_text("new\n")
        with pytest.raises(NotFound):  # which is an answer
            await rpc.describe("any")
        with pytest.raises(TemporalUnfit, match="no namespace 'other'"):
            await other.describe("any")

    # The first call may have the old key, depending on when the file was last read.
    assert gate.seen[-2:] == ["Bearer new", "Bearer new"]
    assert set(gate.seen[:-2]) <= {"Bearer old"}


async def test_waiting_for_a_server_ends_with_the_current_key(
    temporal_address: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    async with gateway(temporal_address, key="new") as gate:
        config = load_config(
            {
                "TEMPORAL_ADDRESS": gate.address,
                "TEMPORAL_TLS": "false",
                "TEMPORAL_API_KEY_FILE": str(file),
            }
        )
        file.write_text("new")

        await connect(config, 0)
