"""What a pass is asked to do, in plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from reconciler.core.model import Mode
from reconciler.core.report import PassReport


@dataclass(frozen=True, slots=True)
class PassOptions:
    """What distinguishes one kind of pass from another."""

    mode: str = Mode.ONCE
    dry_run: bool = False
    #: Rows per page read and per statement written.
    batch_size: int = 500
    #: Rows asked about at the same time.
    concurrency: int = 16
    #: Every row is described at least once in this time, whatever visibility says of it; with zero
    #: visibility is not asked.
    full_sweep_interval: timedelta = timedelta()
    #: Rows looked at, and rows written, at the most; None for no limit.
    limit: int | None = None
    max_changes: int | None = None
    #: Whether to leave the database alone for a moment after each write.
    pauses: bool = False

    def new_report(self, now: datetime) -> PassReport:
        """The report of a pass that begins now."""
        return PassReport(str(uuid4()), self.mode, self.dry_run, started_at=now)
