"""Why there is no connection to Temporal: the SDK's error in one line, with what to check.

The SDK has no types for these errors, only text: the Debug form of Rust values while it connects,
a sentence once it has been connected. Only two things are read from it: what no waiting changes,
and the last sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from temporalio.service import HttpConnectProxyConfig

from reconciler.core.errors import TemporalUnfit, TemporalUnusable
from reconciler.core.text import one_line

# The words of SDK 1.35 for settings that no server accepts,
_UNUSABLE_SETTINGS = re.compile(
    r"InconsistentKeys|PrivateKeyParseError|NoCertificatesPresented|CertificateParseError"
    r"|InvalidUri|Invalid (headers|metadata)"
)
# for a refusal of the first call, which the SDK makes itself,
_NO_ACCESS = re.compile(r"code: (Unauthenticated|PermissionDenied)")
# for a TLS handshake that one of the two sides refuses,
_NO_TLS = re.compile(
    r"InvalidCertificate|invalid peer certificate|AlertReceived|fatal alert|InvalidContentType"
)
# and for a proxy's own rules. That it does not get through to Temporal is a 5xx, and may pass.
_PROXY_REFUSES = re.compile(r"CONNECT call failed with status: 4\d\d")


@dataclass(frozen=True, slots=True)
class Route:
    """The way to Temporal."""

    target: str
    proxy: HttpConnectProxyConfig | None = None

    def explain(self, text: str) -> TemporalUnusable:
        """What the SDK's error means; `TemporalUnfit` for what no waiting changes."""
        reason = last_sentence(text)
        if _NO_ACCESS.search(text):
            return TemporalUnfit(
                f"Temporal at {self} refuses access ({reason})",
                "check TEMPORAL_API_KEY or TEMPORAL_TLS_*",
            )
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


def are_settings_unusable(text: str) -> bool:
    """Whether the SDK's error is about the settings alone, whatever the server is."""
    return _UNUSABLE_SETTINGS.search(text) is not None


def last_sentence(text: str) -> str:
    """The last sentence in the SDK's error, or else the innermost error in it."""
    text = text.partition("Stack backtrace")[0]
    if sentences := re.findall(r'(?:message|error): "([^"]+)"', text):
        return one_line(sentences[-1], 300)
    inner = re.split(r"client connect: |Transport, |ConnectError\(|error: |Caused by:", text)[-1]
    # Without the closing brackets of what it stood in.
    while inner.count(")") > inner.count("(") or inner.count("}") > inner.count("{"):
        inner = inner[:-1].rstrip()
    return one_line(inner, 300)
