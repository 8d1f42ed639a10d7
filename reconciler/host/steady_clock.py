"""A clock that cannot be set: for waits, due times and the trust in a lease."""

from __future__ import annotations

import time

# Linux's monotonic clock stands still while the machine is suspended; this one does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds since a fixed moment, including time spent suspended where the system counts it."""
    return time.clock_gettime(_CLOCK)
