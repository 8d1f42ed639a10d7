"""What visibility is asked for and answers: closings of one status, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a run, as visibility shows it: a reason to look, never evidence.

    The chain may have gone on: a retry or a cron schedule starts another run.
    """

    workflow_id: str
    run_id: str
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """Which closings of a status to list, newest first."""

    #: Stop at the first one that closed before it; None: do not stop.
    floor: datetime | None
    #: Closings on the first page; each following page has ten times as many, at most 1000.
    size: int
    #: At most; one page is one call.
    pages: int


@dataclass(frozen=True, slots=True)
class Listed:
    """The closings found, newest first; none closed before the floor."""

    closings: Sequence[Closing]
    #: The floor or the last closing was reached within the allowed pages.
    complete: bool
