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
    """Connect as the command would; the namespace."""
    _, namespace = await connect(load_config({"TEMPORAL_ADDRESS": temporal}, f"http://{proxy}"), 0)
    return namespace.name


async def refusal(temporal: str, proxy: str) -> tuple[str, bool]:
    """What is told, and whether it is final."""
    with pytest.raises(TemporalUnusable) as refused:
        await reach(temporal, proxy)
    assert "s3cret" not in str(refused.value)
    return str(refused.value), isinstance(refused.value, TemporalUnfit)


async def test_is_asked_to_connect(temporal_address: str) -> None:
    async with http_proxy() as proxy:
        assert await reach(temporal_address, proxy.address) == "default"

    assert proxy.asked[0].startswith(f"CONNECT {temporal_address} HTTP/1.1\r\n")


async def test_is_told_user_and_password(temporal_address: str) -> None:
    async with http_proxy("user:s3cret@") as proxy:
        assert await reach(temporal_address, f"user:s3cret%40@{proxy.address}") == "default"

        told = f"the proxy at {proxy.address} refuses user and password (407 Proxy Authentication"
        for login in ("", "user:s3cret@"):
            text, final = await refusal(temporal_address, f"{login}{proxy.address}")
            assert text.startswith(told)
            assert text.endswith("check RECONCILER_TEMPORAL_PROXY")
            assert final


@pytest.mark.parametrize(("answer", "final"), [("403 Forbidden", True), ("502 Bad Gateway", False)])
async def test_that_does_not_connect_is_named(
    temporal_address: str, answer: str, final: bool
) -> None:
    async with http_proxy() as proxy:
        proxy.answer = answer

        told = f"the proxy at {proxy.address} does not connect to Temporal at {temporal_address}"
        text = f"{told} ({answer}): check TEMPORAL_ADDRESS and RECONCILER_TEMPORAL_PROXY"
        assert await refusal(temporal_address, proxy.address) == (text, final)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:1", "Connection refused (os error 111)"),
        ("no-such-host.invalid:3128", "failed to lookup address information: .*"),
    ],
)
async def test_that_is_not_there_is_named(temporal_address: str, address: str, why: str) -> None:
    told = f"the proxy at {address} is unreachable ("

    text, final = await refusal(temporal_address, f"user:s3cret@{address}")

    assert text.startswith(told + why.removesuffix(".*"))
    assert text.endswith("): check RECONCILER_TEMPORAL_PROXY")
    assert not final


async def test_that_is_no_proxy_is_named(temporal_address: str) -> None:
    text, _ = await refusal(temporal_address, temporal_address)

    assert text.startswith(f"the proxy at {temporal_address} does not answer as an HTTP proxy does")


async def test_a_silent_server_behind_it_is_told_with_the_way_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "reconciler.temporal.client.connect.CONNECT_TIMEOUT", timedelta(seconds=0.5)
    )

    async with silent_server() as silent, http_proxy() as proxy:
        address = f"127.0.0.1:{silent.port}"
        text, final = await refusal(address, proxy.address)

    told = f"Temporal at {address} through the proxy at {proxy.address} did not answer within 0.5 s"
    assert text == f"{told}: check TEMPORAL_ADDRESS and RECONCILER_TEMPORAL_PROXY"
    assert not final


async def test_that_goes_away_later_is_named_too(temporal_address: str) -> None:
    async with http_proxy() as proxy:
        config = load_config({"TEMPORAL_ADDRESS": temporal_address}, f"http://{proxy.address}")
        rpc, _ = await connect(config, 0)

    with pytest.raises(TemporalUnusable, match=rf"the proxy at {proxy.address} is unreachable"):
        await rpc.describe("any")
