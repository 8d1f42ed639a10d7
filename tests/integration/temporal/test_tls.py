"""A real Temporal behind TLS: which clients get through, and the errors for the others."""

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

CHECK = "check TEMPORAL_ADDRESS and TEMPORAL_TLS*"


@dataclass(frozen=True)
class Servers:
    """One Temporal behind several endpoints."""

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
    """Connect as the command does; returns the namespace."""
    variables = {f"TEMPORAL_TLS_{name.upper()}": str(value) for name, value in tls.items()}
    config = load_config({"TEMPORAL_ADDRESS": address, "HOME": "/nonexistent", **variables})
    _, namespace = await connect(config, 0)
    return namespace.name


def no_tls(address: str, why: str) -> str:
    return f"no TLS with Temporal at {address} ({why}): {CHECK}"


async def refusal(address: str, **tls: Path | str) -> str:
    """The error if waiting cannot help.

    With TLS 1.3 the SDK may see the end of a connection before the alert that says why.
    """
    for _ in range(20):
        with pytest.raises(TemporalUnusable) as refused:
            await reach(address, **tls)
        if isinstance(refused.value, TemporalUnfit):
            return str(refused.value)
    raise AssertionError("never the alert")


async def test_with_the_right_authority(servers: Servers) -> None:
    assert await reach(servers.tls, server_ca_cert_path=servers.authority.root) == "default"


async def test_with_another_authority(servers: Servers) -> None:
    untrusted = no_tls(servers.tls, "InvalidCertificate(UnknownIssuer)")

    assert await refusal(servers.tls, server_ca_cert_path=servers.stranger.root) == untrusted
    # With the system's authorities, and with a file without any.
    assert await refusal(servers.tls, server_name="127.0.0.1") == untrusted
    assert await refusal(servers.tls, server_ca_cert_path=servers.client.key) == untrusted


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [(-9 * DAY, -DAY, "Expired"), (DAY, 9 * DAY, "NotValidYet")],
    ids=["expired", "not valid yet"],
)
async def test_a_certificate_outside_its_validity(
    servers: Servers, since: timedelta, until: timedelta, why: str
) -> None:
    now, authority = datetime.now(UTC), servers.authority
    certificate = authority.issue("127.0.0.1", not_before=now + since, not_after=now + until)
    async with tls_proxy(servers.plain, certificate) as address:
        refused = await refusal(address, server_ca_cert_path=authority.root)

    assert why in refused


async def test_without_tls_where_it_is_expected(servers: Servers) -> None:
    # A load balancer without a server behind it looks the same, so the loop waits.
    with pytest.raises(TemporalUnusable) as refused:
        await reach(servers.tls)

    assert not isinstance(refused.value, TemporalUnfit)
    assert str(refused.value).startswith(f"Temporal at {servers.tls} is unreachable (")
    assert str(refused.value).endswith(CHECK)


async def test_with_tls_where_there_is_none(servers: Servers) -> None:
    assert await refusal(servers.plain, server_ca_cert_path=servers.authority.root) == no_tls(
        servers.plain, "InvalidMessage(InvalidContentType)"
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("TEMPORAL_TLS_SERVER_NAME", "not a name"),
        ("TEMPORAL_ADDRESS", "ho<st:7233"),
        ("TEMPORAL_GRPC_META_TEAM", "two\nlines"),
    ],
)
async def test_a_setting_that_no_server_accepts(servers: Servers, setting: str, value: str) -> None:
    given = {"TEMPORAL_ADDRESS": servers.plain, "HOME": "/nonexistent", setting: value}

    with pytest.raises(ConfigurationError, match=r"with these settings \(.+\): check TEMPORAL_"):
        await connect(load_config(given), 0)


class TestServerName:
    async def test_a_certificate_for_another_name(self, servers: Servers) -> None:
        error = await refusal(servers.named, server_ca_cert_path=servers.authority.root)

        assert error.startswith(f"no TLS with Temporal at {servers.named} (InvalidCertificate(")
        assert "temporal.test" in error
        assert error.endswith(CHECK)

    async def test_it_can_be_set(self, servers: Servers) -> None:
        root = servers.authority.root

        assert await reach(servers.named, server_ca_cert_path=root, server_name="temporal.test")

    async def test_it_can_be_set_wrong(self, servers: Servers) -> None:
        refused = await refusal(
            servers.tls, server_ca_cert_path=servers.authority.root, server_name="temporal.test"
        )

        assert "NotValidForName" in refused


class TestMutual:
    async def test_with_a_certificate_of_its_authority(self, servers: Servers) -> None:
        assert await reach(
            servers.mutual,
            server_ca_cert_path=servers.authority.root,
            client_cert_path=servers.client.cert,
            client_key_path=servers.client.key,
        )

    async def test_without_a_certificate(self, servers: Servers) -> None:
        assert await refusal(servers.mutual, server_ca_cert_path=servers.authority.root) == no_tls(
            servers.mutual, "received fatal alert: CertificateRequired"
        )

    async def test_with_an_expired_certificate(self, servers: Servers) -> None:
        now = datetime.now(UTC)
        expired = servers.authority.issue(
            "client.test", not_before=now - 9 * DAY, not_after=now - DAY
        )

        refused = await refusal(
            servers.mutual,
            server_ca_cert_path=servers.authority.root,
            client_cert_path=expired.cert,
            client_key_path=expired.key,
        )

        assert "received fatal alert: CertificateExpired" in refused

    async def test_with_the_key_of_another_certificate(self, servers: Servers) -> None:
        with pytest.raises(ConfigurationError, match=r"InconsistentKeys\(KeyMismatch\)"):
            await reach(
                servers.mutual,
                server_ca_cert_path=servers.authority.root,
                client_cert_path=servers.client.cert,
                client_key_path=servers.stranger.issue("client.test").key,
            )

    @pytest.mark.parametrize(
        ("cert", "key"), [(True, False), (False, True), ("junk", True), (True, "junk")]
    )
    async def test_with_an_invalid_pair(
        self, servers: Servers, tmp_path: Path, cert: bool | str, key: bool | str
    ) -> None:
        junk = tmp_path / "junk"
        junk.write_text("s3cret")
        files = {
            "client_cert_path": servers.client.cert if cert is True else cert and junk,
            "client_key_path": servers.client.key if key is True else key and junk,
        }

        with pytest.raises(ConfigurationError, match=r"with these settings \(") as refused:
            await reach(servers.mutual, **{name: file for name, file in files.items() if file})
        assert "s3cret" not in str(refused.value)

    async def test_with_a_certificate_of_another_authority(self, servers: Servers) -> None:
        strange = servers.stranger.issue("client.test")

        assert await refusal(
            servers.mutual,
            server_ca_cert_path=servers.authority.root,
            client_cert_path=strange.cert,
            client_key_path=strange.key,
        ) == no_tls(servers.mutual, "received fatal alert: UnknownCA")


async def test_a_certificate_that_becomes_invalid_ends_the_pass(
    servers: Servers,
) -> None:
    host, _, port = servers.tls.rpartition(":")
    async with proxy(host, int(port)) as network:
        address = f"127.0.0.1:{network.port}"
        root = {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(servers.authority.root)}
        rpc, _ = await connect(load_config({"TEMPORAL_ADDRESS": address, **root}), 0)
        network.target = (host, int(servers.named.rpartition(":")[2]))
        network.cut()

        with pytest.raises(TemporalUnfit, match=r"no TLS .*only valid for .*temporal\.test"):
            await rpc.describe("any")
