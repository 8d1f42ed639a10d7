"""Temporal through an HTTP proxy."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.errors import TemporalUnfit, TemporalUnusable
from reconciler.temporal.client.connect import connect
from reconciler.temporal.config.load import load_config
from tests.support.network.http_proxy import http_proxy
from tests.support.network.silent import silent_server


async def reach(temporal: str, proxy: str) -> str:
    """Connect as the command does; returns the namespace."""
    _, namespace = await connect(load_config({"TEMPORAL_ADDRESS": temporal}, f"http://{proxy}"), 0)
    return namespace.name


async def refusal(temporal: str, proxy: str) -> tuple[str, bool]:
    """The error's problem, and whether it is final."""
    with pytest.raises(TemporalUnusable) as refused:
        await reach(temporal, proxy)
    text, _, check = str(refused.value).rpartition(": ")
    assert check == "check TEMPORAL_ADDRESS, TEMPORAL_TLS* and RECONCILER_TEMPORAL_PROXY"
    assert "s3cret" not in text
    return text, isinstance(refused.value, TemporalUnfit)


def unreachable(temporal: str, proxy: str, why: str) -> str:
    return f"Temporal at {temporal} through the proxy at {proxy} is unreachable ({why})"


async def test_the_proxy_is_asked_to_connect(temporal_address: str) -> None:
    async with http_proxy() as proxy:
        assert await reach(temporal_address, proxy.address) == "default"

    assert proxy.asked[0].startswith(f"CONNECT {temporal_address} HTTP/1.1\r\n")


async def test_user_and_password_are_sent(temporal_address: str) -> None:
    async with http_proxy("user:s3cret@") as proxy:
        assert await reach(temporal_address, f"user:s3cret%40@{proxy.address}") == "default"

        why = "CONNECT call failed with status: 407 Proxy Authentication Required"
        for login in ("", "user:s3cret@"):
            refused = await refusal(temporal_address, f"{login}{proxy.address}")
            assert refused == (unreachable(temporal_address, proxy.address, why), True)


@pytest.mark.parametrize(("answer", "final"), [("403 Forbidden", True), ("502 Bad Gateway", False)])
async def test_a_proxy_that_refuses(temporal_address: str, answer: str, final: bool) -> None:
    async with http_proxy() as proxy:
        proxy.answer = answer

        why = f"CONNECT call failed with status: {answer}"
        text = unreachable(temporal_address, proxy.address, why)
        assert await refusal(temporal_address, proxy.address) == (text, final)


async def test_no_proxy_at_the_address(temporal_address: str) -> None:
    text = unreachable(temporal_address, "127.0.0.1:1", "Connection refused (os error 111)")

    assert await refusal(temporal_address, "user:s3cret@127.0.0.1:1") == (text, False)


async def test_a_server_that_is_not_a_proxy(temporal_address: str) -> None:
    text, final = await refusal(temporal_address, temporal_address)

    assert f"through the proxy at {temporal_address} is unreachable (" in text
    assert not final


async def test_a_silent_server_behind_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "reconciler.temporal.client.connect.CONNECT_TIMEOUT", timedelta(seconds=0.5)
    )

    async with silent_server() as silent, http_proxy() as proxy:
        address = f"127.0.0.1:{silent.port}"
        text, final = await refusal(address, proxy.address)

    assert (
        text
        == f"Temporal at {address} through the proxy at {proxy.address} did not answer within 0.5 s"
    )
    assert not final


async def test_a_proxy_that_goes_down_later(temporal_address: str) -> None:
    async with http_proxy() as proxy:
        config = load_config({"TEMPORAL_ADDRESS": temporal_address}, f"http://{proxy.address}")
        rpc, _ = await connect(config, 0)

    with pytest.raises(TemporalUnusable, match=rf"the proxy at {proxy.address} is unreachable"):
        await rpc.describe("any")
