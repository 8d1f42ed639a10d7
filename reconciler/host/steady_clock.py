"""A clock that cannot be set, for waits, due times and the expiry of a lease."""

from __future__ import annotations

import time

# Unlike the monotonic clock of Linux, this one counts the time while the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds since a fixed moment, including time spent suspended if the system counts it."""
    return time.clock_gettime(_CLOCK)
