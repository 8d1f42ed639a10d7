"""A port for a server that stops and starts again."""

from __future__ import annotations

import random
import socket
import sys


def free_port() -> int:
    """A loopback port that no other test gets, even while its server is down.

    It is below the range from which the kernel takes ports for outgoing connections, which could
    even connect to themselves. Other test processes use the same range, hence the reservation.
    """
    choice = random.SystemRandom()
    while True:
        port = choice.randrange(15_000, 30_000)
        if _is_free(port) and _reserve(port):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _reserve(port: int) -> bool:
    """Reserve the port among test processes until this one ends; False if it is taken."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0reconciler-test-port-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # kept open, on purpose
    return True
