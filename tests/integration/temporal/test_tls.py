"""A real Temporal behind TLS: who is let in, and what is told to those who are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from reconciler.core.errors import ConfigurationError, TemporalUnfit, TemporalUnusable
from reconciler.temporal.client.connect import connect
from reconciler.temporal.config.load import load_config
from tests.support.network.certificates import Authority, Certificate
from tests.support.network.proxy import proxy
from tests.support.network.tls import tls_proxy


@dataclass(frozen=True)
class Servers:
    """One Temporal by several doors."""

    plain: str
    #: With a certificate for its address.
    tls: str
    #: With a certificate for temporal.test.
    named: str
    #: Wants to see a certificate of `authority`.
    mutual: str
    authority: Authority
    stranger: Authority
    client: Certificate


@pytest.fixture(scope="module")
async def servers(
    temporal: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Servers]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    plain = temporal.service_client.config.target_host
    here = authority.issue("127.0.0.1")
    async with (
        tls_proxy(plain, here) as tls,
        tls_proxy(plain, authority.issue("temporal.test")) as named,
        tls_proxy(plain, here, clients=authority) as mutual,
    ):
        client = authority.issue("client.test")
        yield Servers(plain, tls, named, mutual, authority, stranger, client)


async def reach(address: str, **tls: Path | str) -> str:
    """Connect as the command would; the namespace."""
    variables = {f"TEMPORAL_TLS_{name.upper()}": str(value) for name, value in tls.items()}
    config = load_config({"TEMPORAL_ADDRESS": address, "HOME": "/nonexistent", **variables})
    _, namespace = await connect(config, 0)
    return namespace.name


async def refusal(address: str, **tls: Path | str) -> str:
    """What is told of what no waiting would mend.

    With TLS 1.3 the SDK may see the end of a connection before the alert that says why.
    """
    while True:
        with pytest.raises(TemporalUnusable) as refused:
            await reach(address, **tls)
        if isinstance(refused.value, TemporalUnfit):
            return str(refused.value)
        assert "closes the connection at once" in str(refused.value)


async def test_with_the_right_authority(servers: Servers) -> None:
    assert await reach(servers.tls, server_ca_cert_path=servers.authority.root) == "default"


async def test_with_another_authority(servers: Servers) -> None:
    told = f"no TLS with Temporal at {servers.tls}: nobody trusted here vouches for its certificate"

    assert await refusal(servers.tls, server_ca_cert_path=servers.stranger.root) == (
        f"{told}: check TEMPORAL_TLS_SERVER_CA_CERT_PATH"
    )
    # With those that the system trusts.
    assert await refusal(servers.tls, server_name="127.0.0.1") == (
        f"{told}: set TEMPORAL_TLS_SERVER_CA_CERT_PATH"
    )


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        (-9 * DAY, -DAY, "its certificate has expired: renew it there, or check the clock here"),
        (DAY, 9 * DAY, "its certificate is not valid yet: check the clocks"),
    ],
    ids=["expired", "not valid yet"],
)
async def test_a_certificate_out_of_its_time(
    servers: Servers, since: timedelta, until: timedelta, told: str
) -> None:
    now, authority = datetime.now(UTC), servers.authority
    certificate = authority.issue("127.0.0.1", not_before=now + since, not_after=now + until)
    async with tls_proxy(servers.plain, certificate) as address:
        refused = await refusal(address, server_ca_cert_path=authority.root)

    assert refused == f"no TLS with Temporal at {address}: {told}"


async def test_without_tls_where_it_is_expected(servers: Servers) -> None:
    # A load balancer without a server behind it looks the same, so that this is waited for.
    with pytest.raises(TemporalUnusable) as refused:
        await reach(servers.tls)

    assert not isinstance(refused.value, TemporalUnfit)
    assert str(refused.value) == (
        f"Temporal at {servers.tls} closes the connection at once: check TEMPORAL_ADDRESS, "
        "and whether it expects TLS (TEMPORAL_TLS=true)"
    )


async def test_with_tls_where_there_is_none(servers: Servers) -> None:
    assert await refusal(servers.plain, server_ca_cert_path=servers.authority.root) == (
        f"no TLS with Temporal at {servers.plain}: it does not speak TLS: "
        "check the port, or set TEMPORAL_TLS=false"
    )


class TestServerName:
    async def test_a_certificate_for_another_name(self, servers: Servers) -> None:
        assert await refusal(servers.named, server_ca_cert_path=servers.authority.root) == (
            f"no TLS with Temporal at {servers.named}: its certificate is for temporal.test, "
            "not for 127.0.0.1: set TEMPORAL_TLS_SERVER_NAME"
        )

    async def test_can_be_told(self, servers: Servers) -> None:
        root = servers.authority.root

        assert await reach(servers.named, server_ca_cert_path=root, server_name="temporal.test")

    async def test_can_be_told_wrong(self, servers: Servers) -> None:
        told = await refusal(
            servers.tls, server_ca_cert_path=servers.authority.root, server_name="temporal.test"
        )

        assert "its certificate is for 127.0.0.1, not for temporal.test" in told


class TestMutual:
    async def test_with_a_certificate_of_its_authority(self, servers: Servers) -> None:
        assert await reach(
            servers.mutual,
            server_ca_cert_path=servers.authority.root,
            client_cert_path=servers.client.cert,
            client_key_path=servers.client.key,
        )

    async def test_without_a_certificate(self, servers: Servers) -> None:
        assert await refusal(servers.mutual, server_ca_cert_path=servers.authority.root) == (
            f"no TLS with Temporal at {servers.mutual}: it asks for a client certificate: "
            "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
        )

    async def test_with_one_that_has_expired(self, servers: Servers) -> None:
        now = datetime.now(UTC)
        expired = servers.authority.issue(
            "client.test", not_before=now - 9 * DAY, not_after=now - DAY
        )

        told = await refusal(
            servers.mutual,
            server_ca_cert_path=servers.authority.root,
            client_cert_path=expired.cert,
            client_key_path=expired.key,
        )

        assert "it refuses our client certificate (CertificateExpired)" in told

    async def test_with_a_key_of_another_certificate(self, servers: Servers) -> None:
        with pytest.raises(ConfigurationError, match="TEMPORAL_TLS_CLIENT_KEY_PATH"):
            await reach(
                servers.mutual,
                server_ca_cert_path=servers.authority.root,
                client_cert_path=servers.client.cert,
                client_key_path=servers.stranger.issue("client.test").key,
            )

    async def test_with_one_of_another_authority(self, servers: Servers) -> None:
        strange = servers.stranger.issue("client.test")

        assert await refusal(
            servers.mutual,
            server_ca_cert_path=servers.authority.root,
            client_cert_path=strange.cert,
            client_key_path=strange.key,
        ) == (
            f"no TLS with Temporal at {servers.mutual}: it refuses our client certificate "
            "(UnknownCA): check TEMPORAL_TLS_CLIENT_CERT_PATH"
        )


async def test_a_certificate_that_goes_wrong_later_ends_the_pass_with_the_same_words(
    servers: Servers,
) -> None:
    host, _, port = servers.tls.rpartition(":")
    async with proxy(host, int(port)) as network:
        address = f"127.0.0.1:{network.port}"
        root = {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(servers.authority.root)}
        rpc, _ = await connect(load_config({"TEMPORAL_ADDRESS": address, **root}), 0)
        network.target = (host, int(servers.named.rpartition(":")[2]))
        network.cut()

        with pytest.raises(TemporalUnfit, match=r"its certificate is for temporal\.test, not"):
            await rpc.describe("any")
