"""Parameters of libpq in a URL that the driver does not know: its time limit and keepalives.

They mean what they mean to libpq: keepalives are on unless `keepalives=0`, and 0 stands for the
system's default. On a system without one of these options, it is ignored.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

#: The least and the greatest value of each.
LIMITS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "connect_timeout": (1, 600),  # seconds; libpq's 0, no limit, could block a loop for good
        "keepalives": (0, 1),
        "keepalives_idle": (0, 32_767),
        "keepalives_interval": (0, 32_767),
        "keepalives_count": (0, 127),
        "tcp_user_timeout": (0, 2**31 - 1),  # milliseconds
    }
)
#: The socket's options by parameter; the first is what macOS calls the second.
_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "keepalives_idle": ("TCP_KEEPALIVE", "TCP_KEEPIDLE"),
        "keepalives_interval": ("TCP_KEEPINTVL",),
        "keepalives_count": ("TCP_KEEPCNT",),
        "tcp_user_timeout": ("TCP_USER_TIMEOUT",),
    }
)


@dataclass(frozen=True, slots=True)
class Link:
    """A URL for the driver, and what it does not know."""

    dsn: str
    #: Seconds; None if the URL does not say.
    connect_timeout: int | None
    application_name: str | None
    #: Level, option and value of each.
    options: tuple[tuple[int, int, int], ...]


def read_link(url: str) -> Link:
    """Take a URL apart. One that is not well-formed is left to the driver."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(query)
    ours = {name: int(given[name]) for name in LIMITS if name in given}
    if ours:
        kept = [each for each in query if each[0] not in ours]
        url = parts._replace(query=urlencode(kept)).geturl()
    return Link(url, ours.get("connect_timeout"), given.get("application_name"), tuple(_of(ours)))


def _of(given: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
    keepalives = given.get("keepalives", 1)
    if keepalives:
        yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name, options in _OPTIONS.items():
        option = next((getattr(socket, each) for each in options if hasattr(socket, each)), None)
        value = given.get(name, 0)
        if option is not None and value and (keepalives or not name.startswith("keepalives")):
            yield socket.IPPROTO_TCP, option, value


def set_options(connection: Any, options: tuple[tuple[int, int, int], ...]) -> None:
    """Set them on asyncpg's connection, unless it is over a Unix socket."""
    # asyncpg has no public access to the socket.
    found = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
        for each in options:
            found.setsockopt(*each)
