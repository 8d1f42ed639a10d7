"""A port for a server that goes away and comes back."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """A port of the loopback interface that nobody is given while its server is away.

    So it lies below those that the kernel hands out, to outgoing connections above all: one of them
    could even be connected to itself.
    """
    while True:
        port = random.randrange(15_000, 30_000)  # noqa: S311 - it keeps no secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
