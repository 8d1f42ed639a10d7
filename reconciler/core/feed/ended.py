"""How a look at the rows of a closing ended, as far as it matters to the feed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import TypeAlias


class Ended(Enum):
    """How a look ended that does not depend on a time."""

    #: The row has been finished, by this process or by another.
    WRITTEN = auto()
    #: The chain goes on: a retry, or a cron schedule. Its end will be another closing.
    OPEN = auto()
    #: There was no usable answer, or the row was locked or refused.
    TRY_AGAIN = auto()
    #: The row is left by a rule that time does not change.
    DROP = auto()


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """The row is too young to be judged before a moment."""

    at: datetime


LookEnd: TypeAlias = Ended | WaitUntil


def all_in_one(ends: Iterable[LookEnd]) -> LookEnd:
    """How a look at several rows of one workflow id ended: what still needs a look wins."""
    ended = set(ends)
    waits = [end.at for end in ended if isinstance(end, WaitUntil)]
    if Ended.TRY_AGAIN in ended:
        return Ended.TRY_AGAIN
    if waits:
        return WaitUntil(min(waits))
    for end in (Ended.WRITTEN, Ended.OPEN):
        if end in ended:
            return end
    return Ended.DROP
