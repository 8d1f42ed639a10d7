"""What a pass is asked to do, and how: plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: How `run` finds rows in its own passes: in a stretch of the sweep, or because all are read.
SWEEP, SCAN = "sweep", "scan"


@dataclass(frozen=True, slots=True)
class PassRequest:
    """What a pass is asked to do."""

    mode: str
    dry_run: bool = False
    #: Recorded for a pass that can be resumed, by the same request. None for a pass over every row.
    asked: Mapping[str, Any] | None = None
    #: How its rows were found, as the journal and metrics have it: `SWEEP`, `SCAN`, or its mode.
    found_by: str = ""

    def __post_init__(self) -> None:
        if not self.found_by:
            object.__setattr__(self, "found_by", self.mode)


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How a pass works; this is all that differs from mode to mode."""

    #: Rows per page that is read, and per statement that writes.
    batch_size: int = 500
    #: Rows asked about at the same time.
    concurrency: int = 16
    #: Of a round of the sweep, which describes every row whatever visibility says. Zero: every pass
    #: describes every row, and does not ask visibility.
    full_sweep_interval: timedelta = timedelta()
    #: Whether only the stretch of the sweep that is due is read, and no other row. Not with an
    #: interval of zero, where all rows are due.
    stretch_only: bool = False
    #: Rows that the sweep describes per second, at most; the round takes longer then.
    sweep_rps: float = math.inf
    #: Rows that are looked at, at most; None for no limit.
    limit: int | None = None
    #: Rows that are written, at most; None for no limit.
    max_changes: int | None = None
    #: Whether to pause after each write for as long as it took, to spare the database.
    pauses: bool = False
    #: Whether missing rows that the policy would fail get a second look; else they are left to the
    #: caller, as spans in the report's progress.
    second_look: bool = True
