"""Why a connection does not come about: what no server of the tests can be brought to."""

from __future__ import annotations

import pytest
from temporalio.service import HttpConnectProxyConfig, TLSConfig

from reconciler.core.errors import ConfigurationError, TemporalUnfit, TemporalUnusable
from reconciler.temporal.client.connect_errors import Route

# As SDK 1.35 says it.
CONNECT = "Failed client connect: Server connection error: tonic::transport::Error(Transport, "
INVALID = CONNECT + "ConnectError(Custom { kind: InvalidData, error: InvalidCertificate("
FIRST_CALL = (
    "Failed client connect: `get_system_info` call error after connection: "
    'Status { code: Unknown, message: "transport error", source: Some(tonic::transport::Error('
    "Transport, hyper::Error(Io, Custom { kind: InvalidData, error: "
)

TLS = Route("t:7233", tls=TLSConfig())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "invalid peer certificate: certificate expired: verification time 1 (UNIX), but …",
            "its certificate has expired",
        ),
        ("invalid peer certificate: certificate not valid yet: …", "is not valid yet"),
        (INVALID + "CaUsedAsEndEntity) })))", "is not accepted (CaUsedAsEndEntity)"),
        ("invalid peer certificate: BadEncoding", "its certificate is not accepted (BadEncoding)"),
        (INVALID + "NotValidForName) })))", "its certificate is for other names, not for t"),
        (
            CONNECT + "ConnectError(Custom { kind: InvalidData, "
            "error: AlertReceived(HandshakeFailure) })))",
            "it ends the handshake (HandshakeFailure)",
        ),
    ],
)
def test_what_is_wrong_with_tls_is_told_and_is_final(text: str, told: str) -> None:
    trouble = TLS.trouble(text)

    assert isinstance(trouble, TemporalUnfit)
    assert str(trouble).startswith("no TLS with Temporal at t:7233: ")
    assert told in str(trouble)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CONNECT + "PrivateKeyParseError)", "TEMPORAL_TLS_CLIENT_KEY_PATH: no private key can be"),
        (CONNECT + "NoCertificatesPresented)", "TEMPORAL_TLS_CLIENT_CERT_PATH: no certificate can"),
        (
            "Invalid headers provided to client: invalid header value",
            "TEMPORAL_GRPC_META_*: holds characters that no header has",
        ),
        ("Failed client connect: Invalid URI: InvalidUri(InvalidUriChar)", "TEMPORAL_ADDRESS ('t:"),
    ],
)
def test_settings_that_cannot_be_right_are_named(text: str, told: str) -> None:
    trouble = TLS.trouble(text)

    assert isinstance(trouble, ConfigurationError)
    assert str(trouble).startswith(told)


@pytest.mark.parametrize(
    "text",
    [
        'Canceled, "connection closed"))) }',
        'error: "connection reset by peer" }))) }',
        "FRAME_SIZE_ERROR",
    ],
)
def test_a_server_that_hangs_up_may_expect_a_certificate_but_is_waited_for(text: str) -> None:
    trouble = TLS.trouble(FIRST_CALL + text)

    assert type(trouble) is TemporalUnusable
    assert "whether it expects a client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH" in str(trouble)


@pytest.mark.parametrize("backtrace", ["", "\n\nStack backtrace:\n   0: <anyhow::Error>::msg\n"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "CONNECT call failed with status: 407 Proxy Authentication Required",
            "the proxy at p:1 refuses user and password (407 Proxy Authentication Required): check",
        ),
        (
            "client error (Connect)\n\nCaused by:\n    Connection refused (os error 111)",
            "the proxy at p:1 is unreachable (Connection refused (os error 111)): check",
        ),
        ("client error (Connect)", "the proxy at p:1 is unreachable: check"),
    ],
)
def test_a_proxy_s_trouble_is_told_without_the_brackets_it_comes_in(
    text: str, told: str, backtrace: str
) -> None:
    route = Route("t:7233", proxy=HttpConnectProxyConfig("p:1", ("user", "s3cret")))

    trouble = route.trouble(f"{CONNECT}ConnectError({text}{backtrace}))")

    assert str(trouble) == f"{told} RECONCILER_TEMPORAL_PROXY"


def test_what_is_not_known_is_passed_on() -> None:
    trouble = TLS.trouble("Failed client connect: something of SDK 2")

    assert type(trouble) is TemporalUnusable
    assert str(trouble) == (
        "Temporal at t:7233 is unreachable (something of SDK 2): "
        "check TEMPORAL_ADDRESS and TEMPORAL_TLS_*"
    )
