"""Why there is no connection to Temporal: the SDK's error in one line, and what to check.

The SDK has no types for these errors, only text: the Debug form of Rust values while it connects,
a sentence once it has been connected. Two things are read from it: whether waiting can help, and
the last sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from temporalio.service import HttpConnectProxyConfig

from reconciler.core.errors import (
    ConfigurationError,
    ReconcilerError,
    TemporalUnfit,
    TemporalUnusable,
)
from reconciler.core.text import one_line

CHECK_ACCESS = "check TEMPORAL_API_KEY or TEMPORAL_TLS_*"

# What SDK 1.35 says about settings that no server accepts,
_INVALID_SETTINGS = re.compile(
    r"InconsistentKeys|PrivateKeyParseError|NoCertificatesPresented|CertificateParseError"
    r"|InvalidUri|Invalid (headers|metadata)"
)
# about a refusal of the first call, which the SDK makes itself,
_NO_ACCESS = re.compile(r"code: (Unauthenticated|PermissionDenied)")
# about a TLS handshake that either side refuses,
_NO_TLS = re.compile(
    r"InvalidCertificate|invalid peer certificate|AlertReceived|fatal alert|InvalidContentType"
)
# and about a proxy that refuses. If it cannot reach Temporal, it answers 5xx, which may pass.
_PROXY_REFUSES = re.compile(r"CONNECT call failed with status: 4\d\d")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Temporal's address, and the proxy on the way to it."""

    target: str
    proxy: HttpConnectProxyConfig | None = None

    def explain_connect_error(self, error: RuntimeError | ValueError) -> ReconcilerError:
        """What an error of `Client.connect` means; `ConfigurationError` for invalid settings."""
        text = str(error)
        if isinstance(error, ValueError) or _INVALID_SETTINGS.search(text):
            return ConfigurationError(
                f"Temporal at {self} cannot be reached with these settings "
                f"({_last_sentence(text)})",
                "check TEMPORAL_* and temporal.toml",
            )
        return self.explain(text)

    def explain(self, text: str) -> TemporalUnusable:
        """What the SDK's error means; `TemporalUnfit` if waiting cannot help."""
        reason = _last_sentence(text)
        if _NO_ACCESS.search(text):
            return TemporalUnfit(f"Temporal at {self} refuses access ({reason})", CHECK_ACCESS)
        if _NO_TLS.search(text):
            return TemporalUnfit(f"no TLS with Temporal at {self} ({reason})", self.fix)
        kind = TemporalUnfit if _PROXY_REFUSES.search(text) else TemporalUnusable
        return kind(f"Temporal at {self} is unreachable ({reason})", self.fix)

    @property
    def fix(self) -> str:
        """Which settings to check."""
        if self.proxy is None:
            return "check TEMPORAL_ADDRESS and TEMPORAL_TLS*"
        return "check TEMPORAL_ADDRESS, TEMPORAL_TLS* and RECONCILER_TEMPORAL_PROXY"

    def __str__(self) -> str:
        through = f" through the proxy at {self.proxy.target_host}" if self.proxy else ""
        return f"{self.target}{through}"


def _last_sentence(text: str) -> str:
    """The last sentence in the SDK's error, or else the innermost error in it."""
    text = text.partition("Stack backtrace")[0]
    if sentences := re.findall(r'(?:message|error): "([^"]+)"', text):
        return one_line(sentences[-1], 300)
    inner = re.split(r"client connect: |Transport, |ConnectError\(|error: |Caused by:", text)[-1]
    # Without the closing brackets of the values around it.
    while inner.count(")") > inner.count("(") or inner.count("}") > inner.count("{"):
        inner = inner[:-1].rstrip()
    return one_line(inner, 300)
