"""What `reconciler stuck` has found, whether it has read the record or asked Temporal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.stuck.condition import Group, Reason
from reconciler.core.table_warnings import TableWarning


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckReport:
    """The stuck rows that were asked for, summed up."""

    #: By the database's clock.
    now: datetime
    #: When Temporal was asked; of a pass, its end. None if there was none yet.
    checked_at: datetime | None
    rows: Mapping[Reason, int]
    #: The largest first.
    groups: Sequence[Group]
    #: Including groups that are not in `groups`.
    all_groups: int
    #: Running rows of which Temporal says nothing usable.
    unknown: int = 0
    #: Rows whose workflows are open, and would take more calls to judge than a pass may make.
    undecided: int = 0
    #: There are running rows, and no pass of `run` or `once` has ended.
    never_checked: bool = False
    #: Running rows that Temporal was asked about now; None if the record was read.
    scanned: int | None = None
    #: The most that a row usually waits to be judged again; zero: each pass judges it.
    judged_every: timedelta = timedelta()
    #: About the table as a whole.
    warnings: Sequence[TableWarning] = ()

    @property
    def is_certain(self) -> bool:
        """Whether all running rows were judged: determines the exit code."""
        idle = any(each.code.is_idle for each in self.warnings)
        return not (self.unknown or self.undecided or self.never_checked or idle)
