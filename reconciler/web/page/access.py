"""Who may see the page. What a proxy forwards about a request has no say in it.

On a loopback address everyone on the host may, as long as the browser was sent there by a loopback
name: otherwise any web site could give its own name that address and read the page (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response

from reconciler.core.errors import ConfigurationError

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_CHALLENGE = {**_HEADERS, "WWW-Authenticate": 'Basic realm="reconciler", charset="UTF-8"'}

#: A Host header (RFC 9110): a name, or an IPv6 address in brackets, and perhaps a port.
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]*)?")

HOW_TO_OPEN = (
    "set RECONCILER_PAGE_PASSWORD, or RECONCILER_PAGE=open for everyone who can reach this port"
)
NOT_LOOPBACK = f"The page is closed, because it is not on a loopback address: {HOW_TO_OPEN}.\n"
NOT_BY_LOOPBACK_NAME = (
    "The page is open only by a loopback name or address, such as localhost. For other names, "
    f"{HOW_TO_OPEN}.\n"
)
NEEDS_PASSWORD = "A password is needed: RECONCILER_PAGE_PASSWORD, with any user name.\n"  # noqa: S105
UNREADABLE = "The page is closed, because the file with its password cannot be read.\n"


@dataclass(frozen=True, slots=True)
class Access:
    """The rules, in the order in which they apply."""

    #: Everyone who can reach the port may see the page.
    is_open: bool = False
    #: Returns the password; raises `ConfigurationError` if it cannot be read now.
    password: Callable[[], str] | None = None
    #: Whether the address that the server listens on is a loopback address.
    on_loopback: bool = False

    def refusal(self, headers: Headers) -> Response | None:
        """The answer to a request that may not see the page; None if it may."""
        if self.is_open:
            return None
        if self.password is not None:
            return _check_password(self.password, headers.get("Authorization", ""))
        if not self.on_loopback:
            return PlainTextResponse(NOT_LOOPBACK, 403, _HEADERS)
        if not _is_loopback_name(headers.get("Host", "")):
            return PlainTextResponse(NOT_BY_LOOPBACK_NAME, 403, _HEADERS)
        return None


def is_loopback(host: str) -> bool:
    """Whether listening on this host is listening on loopback addresses only."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:  # binding will say so
        return False
    return all(_is_loopback_address(str(address[0])) for *_, address in found)


def _check_password(password: Callable[[], str], given: str) -> Response | None:
    try:
        expected = password()
    except ConfigurationError:
        return PlainTextResponse(UNREADABLE, 503, _HEADERS)
    found = _password_in(given)
    # Of digests, so that the time shows nothing of the length either.
    if found is not None and hmac.compare_digest(_digest(found), _digest(expected.encode())):
        return None
    return PlainTextResponse(NEEDS_PASSWORD, 401, _CHALLENGE)


def _password_in(authorization: str) -> bytes | None:
    """The password of HTTP Basic (RFC 7617); None if there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    _, colon, password = decoded.partition(b":")
    return password if colon else None


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _is_loopback_name(host: str) -> bool:
    """Whether a Host header names this host itself, on whatever port."""
    if not (found := _HOST.fullmatch(host)):
        return False
    if (ipv6 := found["ipv6"]) is not None:
        return _is_loopback_address(ipv6)
    name = found["name"].lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback_address(name)


def _is_loopback_address(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False
