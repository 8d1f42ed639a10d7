"""Polls that take longer than their interval, because list calls are limited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from reconciler.core.model import CloseStatus


@dataclass(frozen=True, slots=True)
class SlowPoll:
    """A poll of all namespaces at the limit in force."""

    lists: int
    takes: timedelta
    #: The setting of the limit, and its value.
    setting: str
    rps: float
    #: What to change.
    fix: str


def find_slow_poll(
    namespaces: int, interval: timedelta, limits: Mapping[str, float]
) -> SlowPoll | None:
    """A poll that takes longer than the interval; None if polls are as frequent as they should be.

    `limits`: list calls per second, by setting; 0: any number.
    """
    in_force = {setting: rps for setting, rps in limits.items() if rps}
    if not in_force:
        return None
    setting = min(in_force, key=lambda each: in_force[each])
    lists, rps = len(CloseStatus) * namespaces, in_force[setting]
    takes = timedelta(seconds=lists / rps)
    if takes <= interval:
        return None
    enough, longer = ceil(lists / interval.total_seconds()), ceil(takes.total_seconds())
    fix = f"raise {setting} to {enough}, or RECONCILER_FEED_INTERVAL to {longer}s"
    return SlowPoll(lists, takes, setting, rps, fix)
