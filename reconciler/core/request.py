"""What a pass is asked to do, and how it goes about it; in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class PassRequest:
    """What a pass is asked to do."""

    mode: str
    dry_run: bool = False
    #: What is recorded of a pass that can be resumed: the same request resumes it. None for a
    #: pass over every row.
    asked: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PassOptions:
    """What distinguishes one kind of pass from another."""

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
