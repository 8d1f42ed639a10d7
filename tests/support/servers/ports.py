"""A port for a server that goes away and comes back."""

from __future__ import annotations

import random
import socket
import sys


def free_port() -> int:
    """A port of the loopback interface that nobody else is given, also while its server is down.

    It lies below those that the kernel hands out, to outgoing connections above all: one of them
    could even be connected to itself. Other test processes look there too, hence the reservation.
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
    """Whether it is ours until this process ends, among all that ask here."""
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
