"""The vocabulary: rows, what Temporal says about them, and the verdicts that follow.

Every layer uses these words; this module imports nothing of the project. All values are immutable,
all times are aware datetimes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

#: Primary key of a row. Opaque: it is compared and passed back, never interpreted.
RowId: TypeAlias = int | str | UUID


class Mode(StrEnum):
    """What started a pass."""

    ONCE = "once"
    RUN = "run"
    FEED = "feed"
    BACKFILL = "backfill"
    UNDO = "undo"

    @property
    def is_whole(self) -> bool:
        """Whether it looks at every running row, alone or in rounds: a sign of life."""
        return self in (Mode.ONCE, Mode.RUN)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of the application's table that is marked as running."""

    id: RowId
    #: Empty where the application has not stored one.
    workflow_id: str
    #: The first run of the chain; None where the application does not store it.
    run_id: str | None
    #: When the application inserted the row; None where it is not stored.
    created_at: datetime | None
    #: Temporal's namespace; None or empty: that of the connection.
    namespace: str | None = None
    #: When anybody last changed it; None where that is not stored.
    updated_at: datetime | None = None
    #: Why the row cannot be read and judged, whatever Temporal says; None if it can.
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class OldValues:
    """The values of a row before it is finished; None also for a column that does not exist yet."""

    status: str | None
    completed_at: datetime | None
    error_message: str | None


# --- Observations: what Temporal says about a row -------------------------------------------


class CloseStatus(StrEnum):
    """How a chain of runs can end, by Temporal's names.

    CONTINUED_AS_NEW is missing: it closes a run, never a chain.
    """

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    TERMINATED = "TERMINATED"
    TIMED_OUT = "TIMED_OUT"


@dataclass(frozen=True, slots=True)
class Open:
    """The chain has not ended: it is running, paused, or in a state this version does not know."""

    status: str = "RUNNING"
    #: Visibility shows it as open; it was not described.
    screened: bool = False
    #: What shows why it is open, for `Diagnosing`; only the adapter knows its type.
    evidence: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ChainStart:
    """How a chain of runs began: evidence of whose it is if a row has no run id."""

    #: Of the first run.
    run_id: str
    #: None if the first run is past its retention, and its start time with it.
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The chain has ended."""

    status: CloseStatus
    close_time: datetime
    #: The last run of the chain.
    run_id: str
    #: Why it ended, in one line; None when it completed.
    failure: str | None = None
    #: Empty if it was not asked for.
    workflow_type: str = ""
    #: Set if the row has no run id.
    start: ChainStart | None = None
    #: See `Missing`.
    retention: timedelta | None = None
    #: The workflow id belongs to another chain now, a later one.
    id_in_use: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Temporal does not know the row's workflow: never started, deleted, or past retention."""

    detail: str = "no such workflow"
    #: Some workflow has the row's workflow id, perhaps the row's own: reported, never written.
    id_in_use: bool = False
    #: Of the row's namespace; None if the policy's applies.
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no usable answer about this one row; other rows are not affected."""

    cause: str


@dataclass(frozen=True, slots=True)
class Unasked:
    """The row has no workflow id, so there is nothing to ask."""


Observation: TypeAlias = Open | Closed | Missing | Unknown | Unasked


@dataclass(frozen=True, slots=True)
class Use:
    """Another use of a row's workflow id, as visibility shows it: one run stands for its chain."""

    run_id: str
    started_at: datetime
    #: None while it is open.
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rival:
    """Another row of the same workflow id, in any status, that may have a claim to a use of it."""

    row: RunRow
    #: When it was finished; None if it is running, or if that is not stored.
    ended_at: datetime | None = None


# --- Verdicts: what follows from an observation ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write into a row, and the evidence for it."""

    row: RunRow
    #: The value for the status column.
    status: str
    #: Temporal's close time; None if Temporal no longer knows the workflow.
    completed_at: datetime | None
    #: One line, already cut to the limit; None when the workflow completed.
    error_message: str | None
    #: Evidence: what Temporal answered, e.g. "TIMED_OUT", or "NOT_FOUND".
    temporal_status: str
    #: Evidence: the run that closed the chain; None if Temporal no longer knows it.
    final_run_id: str | None
    #: Empty if Temporal no longer knows the workflow.
    workflow_type: str = ""


class LeaveReason(StrEnum):
    """Why a row is left as it is."""

    OPEN = "open"
    TOO_YOUNG = "too_young"
    NEVER_STARTED = "never_started"
    DELETED = "deleted"
    EXPIRED = "expired"
    NO_WORKFLOW_ID = "no_workflow_id"
    COMPLETED = "completed"
    UNKNOWN = "unknown"


#: Temporal does not know the workflow, and the row is older than the grace period.
MISSING_REASONS = (LeaveReason.NEVER_STARTED, LeaveReason.DELETED, LeaveReason.EXPIRED)


@dataclass(frozen=True, slots=True)
class Finish:
    """Finish the row with this outcome."""

    outcome: Outcome
    #: Set if Temporal does not know the workflow and the policy is to fail such rows: why the row
    #: is left if the breaker trips.
    missing: LeaveReason | None = None

    @property
    def row(self) -> RunRow:
        """The row that is finished."""
        return self.outcome.row


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the row as it is."""

    row: RunRow
    reason: LeaveReason
    detail: str | None = None
    #: Only visibility was asked.
    screened: bool = False
    #: See `Open`.
    evidence: object = field(default=None, compare=False, repr=False)


Verdict: TypeAlias = Finish | Leave
