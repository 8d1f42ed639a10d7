"""How Temporal is reached, and why it is not: the SDK's nest of Rust errors in words that help.

The words that are looked for are those of rustls, tonic and hyper inside SDK 1.35; while connecting
they come as those libraries' values, from a connection that has been made once as sentences. What
is not known here is passed on as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from temporalio.service import HttpConnectProxyConfig, TLSConfig

from reconciler.core.errors import (
    ConfigurationError,
    ReconcilerError,
    TemporalUnfit,
    TemporalUnusable,
)
from reconciler.core.text import one_line

PROXY = "RECONCILER_TEMPORAL_PROXY"

_CERTIFICATE = "TEMPORAL_TLS_CLIENT_CERT_PATH"
_KEY = "TEMPORAL_TLS_CLIENT_KEY_PATH"
_AUTHORITY = "TEMPORAL_TLS_SERVER_CA_CERT_PATH"
_NAME = "TEMPORAL_TLS_SERVER_NAME"
# What the server finds wrong with the client's certificate, by the names of TLS alerts.
_REFUSED = (
    "CertificateRequired",
    "UnknownCA",
    "BadCertificate",
    "CertificateUnknown",
    "CertificateExpired",
    "CertificateRevoked",
    "UnsupportedCertificate",
    "AccessDenied",
    "DecryptError",
)
# What becomes of a connection whose two ends do not speak the same, if nobody says so.
_HUNG_UP = re.compile(
    r"call error after connection.*(BrokenPipe|UnexpectedEof|ConnectionReset|connection closed"
    r"|connection reset|FRAME_SIZE|PROTOCOL_ERROR|invalid frame)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Route:
    """The way to Temporal, as far as it explains why there is none."""

    target: str
    tls: bool | TLSConfig | None = None
    proxy: HttpConnectProxyConfig | None = None

    def trouble(self, text: str) -> ReconcilerError:
        """What an error of the SDK's about the connection means.

        `ConfigurationError` or `TemporalUnfit` for what no waiting mends, `TemporalUnusable` for
        the rest.
        """
        return (
            self._wrong_settings(text)
            or self._no_access(text)
            or self._proxy_trouble(text)
            or self._tls_trouble(text)
            or TemporalUnusable(f"Temporal at {self} is unreachable ({_reason(text)}): {self.hint}")
        )

    @property
    def hint(self) -> str:
        """The settings that say how Temporal is reached."""
        names = ["TEMPORAL_ADDRESS"]
        names += [PROXY] if self.proxy else []
        names += ["TEMPORAL_TLS_*"] if self.tls else []
        return f"check {' and '.join(names)}"

    def __str__(self) -> str:
        through = f" through the proxy at {self.proxy.target_host}" if self.proxy else ""
        return f"{self.target}{through}"

    def _wrong_settings(self, text: str) -> ConfigurationError | None:
        if "InconsistentKeys" in text:
            return ConfigurationError(f"{_KEY}: the key is not that of {_CERTIFICATE}")
        if "PrivateKeyParseError" in text:
            return ConfigurationError(f"{_KEY}: no private key can be read from it")
        if "NoCertificatesPresented" in text or "CertificateParseError" in text:
            return ConfigurationError(f"{_CERTIFICATE}: no certificate can be read from it")
        if "Invalid headers" in text or "Invalid metadata" in text:
            return ConfigurationError(
                "TEMPORAL_GRPC_META_*: holds characters that no header has (or grpc_meta does, "
                "in temporal.toml)"
            )
        if "InvalidUri" in text:
            named = f"TEMPORAL_ADDRESS ({self.target!r}) or {_NAME}"
            return ConfigurationError(f"{named} holds characters that no name has")
        return None

    def _no_access(self, text: str) -> TemporalUnfit | None:
        """Where the server refuses the first call of a connection, which the SDK makes."""
        if not re.search(r"code: (Unauthenticated|PermissionDenied)", text):
            return None
        return TemporalUnfit(
            f"Temporal at {self} refuses access ({_reason(text)}): "
            "check TEMPORAL_API_KEY or TEMPORAL_TLS_*"
        )

    def _proxy_trouble(self, text: str) -> TemporalUnusable | None:
        if self.proxy is None:
            return None
        proxy = f"the proxy at {self.proxy.target_host}"
        if answer := re.search(r"CONNECT call failed with status: (\d+)([^\n]*)", text):
            status = _closed(answer[1] + answer[2])
            if answer[1] == "407":
                return TemporalUnfit(f"{proxy} refuses user and password ({status}): check {PROXY}")
            # Its own rules, or that it does not get through to Temporal, which may pass.
            kind = TemporalUnfit if answer[1].startswith("4") else TemporalUnusable
            return kind(
                f"{proxy} does not connect to Temporal at {self.target} ({status}): "
                f"check TEMPORAL_ADDRESS and {PROXY}"
            )
        if "client error (Connect)" in text:
            return TemporalUnusable(f"{proxy} is unreachable{_cause(text)}: check {PROXY}")
        if "client error (SendRequest)" in text:
            return TemporalUnusable(
                f"{proxy} does not answer as an HTTP proxy does{_cause(text)}: check {PROXY}"
            )
        return None

    def _tls_trouble(self, text: str) -> TemporalUnusable | None:
        why = self._certificate_trouble(text) or self._alert(text)
        if why is None and "InvalidContentType" in text:
            why = "it does not speak TLS: check the port, or set TEMPORAL_TLS=false"
        if why is not None:
            return TemporalUnfit(f"no TLS with Temporal at {self}: {why}")
        if not _HUNG_UP.search(text):
            return None
        # A load balancer without a server behind it does the same, so that waiting may help.
        certificate = f"a client certificate ({_CERTIFICATE}, {_KEY})"
        expects = certificate if self.tls else "TLS (TEMPORAL_TLS=true)"
        return TemporalUnusable(
            f"Temporal at {self} closes the connection at once: "
            f"check TEMPORAL_ADDRESS, and whether it expects {expects}"
        )

    def _certificate_trouble(self, text: str) -> str | None:
        """What is wrong with the server's certificate."""
        if "UnknownIssuer" in text:
            given = isinstance(self.tls, TLSConfig) and self.tls.server_root_ca_cert
            verb = "check" if given else "set"
            return f"nobody trusted here vouches for its certificate: {verb} {_AUTHORITY}"
        if re.search(r"NotValidForName|not valid for name", text):
            return f"its certificate is for {_names(text)}, not for {self._name}: set {_NAME}"
        if "NotValidYet" in text or "not valid yet" in text:
            return "its certificate is not valid yet: check the clocks"
        if re.search(r"certificate.*expired", text, re.IGNORECASE | re.DOTALL) and not _alert(text):
            return "its certificate has expired: renew it there, or check the clock here"
        if found := re.search(r"InvalidCertificate\((\w+)|invalid peer certificate: (\w+)", text):
            return f"its certificate is not accepted ({found[1] or found[2]}): check {_AUTHORITY}"
        return None

    def _alert(self, text: str) -> str | None:
        """What the server finds wrong with us."""
        alert = _alert(text)
        if alert is None:
            return None
        if alert not in _REFUSED:
            return f"it ends the handshake ({alert}): check {_NAME} and {_CERTIFICATE}"
        if not (isinstance(self.tls, TLSConfig) and self.tls.client_cert):
            return f"it asks for a client certificate: set {_CERTIFICATE} and {_KEY}"
        return f"it refuses our client certificate ({alert}): check {_CERTIFICATE}"

    @property
    def _name(self) -> str:
        """What the certificate must be for."""
        domain = self.tls.domain if isinstance(self.tls, TLSConfig) else None
        return domain or self.target.rpartition(":")[0]


def _alert(text: str) -> str | None:
    found = re.search(r"fatal alert: (\w+)|AlertReceived\((\w+)", text)
    return found and (found[1] or found[2])


def _names(text: str) -> str:
    """The names that the certificate is for, out of DnsName("…") and the like."""
    presented = text.rpartition("presented:")[2].rpartition("only valid for")[2]
    return (
        ", ".join(re.findall(r'(?:DnsName|IpAddress)\(\\*"?([^")\\]+)', presented)[:5])
        or "other names"
    )


def _closed(text: str) -> str:
    """Without the closing brackets of what it stood in."""
    text = text.strip()
    while text.count(")") > text.count("("):
        text = text.removesuffix(")")
    return text


def _cause(text: str) -> str:
    found = re.search(r"Caused by:\s+([^\n]+)", text)
    return f" ({_closed(found[1])})" if found else ""


def _reason(text: str) -> str:
    """The sentence for people, if there is one."""
    text = text.partition("Stack backtrace")[0].removeprefix("Failed client connect: ")
    sentences = re.findall(r'(?:message|error): "([^"]+)"', text)
    return one_line(sentences[-1] if sentences else text, 300)
