"""The vocabulary: what a row is, what Temporal said about it, and what follows from that.

Every layer speaks these words and this module imports none of ours. All values are immutable,
all times are aware datetimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

#: Primary key of a row. Opaque to us: it is compared and handed back, never interpreted.
RowId: TypeAlias = int | str | UUID


class Mode(StrEnum):
    """What started a pass."""

    ONCE = "once"
    RUN = "run"
    BACKFILL = "backfill"
    UNDO = "undo"

    @property
    def is_whole(self) -> bool:
        """Whether it looks at every running row, so that it shows that rows are looked after."""
        return self in (Mode.ONCE, Mode.RUN)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of the application's table that is marked as running."""

    id: RowId
    workflow_id: str
    #: The first run of the chain; None where the application does not store it.
    run_id: str | None
    #: When the application inserted the row; None where it does not say.
    created_at: datetime | None
    #: Temporal's namespace; None or empty: that of the connection.
    namespace: str | None = None
    #: Why the row cannot be judged, whatever Temporal says: its text is not what it seems to be.
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class OldValues:
    """What a row says before it is finished; None also where a column does not exist yet."""

    status: str | None
    completed_at: datetime | None
    error_message: str | None


# --- Observations: what Temporal says about a row -------------------------------------------


class CloseStatus(StrEnum):
    """The ends a chain of runs can come to, by Temporal's names.

    CONTINUED_AS_NEW is not among them: it closes a run and never a chain.
    """

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    TERMINATED = "TERMINATED"
    TIMED_OUT = "TIMED_OUT"


@dataclass(frozen=True, slots=True)
class Open:
    """The chain is not over: running, paused, or in a state this version does not know."""

    status: str = "RUNNING"
    #: Visibility shows it as open, and it was not described.
    screened: bool = False


@dataclass(frozen=True, slots=True)
class ChainStart:
    """How a chain of runs began: all that tells whose it is where a row has no run id."""

    #: Of the first run.
    run_id: str
    at: datetime
    #: How much later a row may be created and still be its own, and how much earlier.
    skew: timedelta
    delay: timedelta

    @property
    def earliest(self) -> datetime:
        """A row fits that was created from here ..."""
        return self.at - self.delay

    @property
    def latest(self) -> datetime:
        """... up to here."""
        return self.at + self.skew


@dataclass(frozen=True, slots=True)
class Closed:
    """The chain is over."""

    status: CloseStatus
    close_time: datetime
    #: The last run of the chain: the one that closed it.
    run_id: str
    #: Why it ended, in one line; None when it completed.
    failure: str | None = None
    #: What kind of workflow it was; empty where nobody asked.
    workflow_type: str = ""
    #: Set where the row has no run id.
    start: ChainStart | None = None
    #: As of `Missing`.
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """Temporal does not know the row's workflow: never started, deleted, or past retention."""

    detail: str = "no such workflow"
    #: The workflow id is in use, by what may or may not be the row's own: reported, never written.
    id_in_use: bool = False
    #: Of the row's namespace; None if it is that of the policy.
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Temporal could not tell about this one row; the others are not affected."""

    cause: str


Observation: TypeAlias = Open | Closed | Missing | Unknown


@dataclass(frozen=True, slots=True)
class Rival:
    """Another row of a workflow id, whatever its status, that may be the one its run belongs to.

    It holds one of the chain's run ids; or it has none, and the chain's start fits it as well.
    """

    row: RunRow
    #: When it was finished, if it says so.
    ended_at: datetime | None = None


# --- Verdicts: what follows from an observation ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be written into a row, and the evidence for it."""

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
    #: What kind of workflow it was; empty if Temporal no longer knows it.
    workflow_type: str = ""


class LeaveReason(StrEnum):
    """Why a row is left as it is."""

    OPEN = "open"
    TOO_YOUNG = "too_young"
    NEVER_STARTED = "never_started"
    DELETED = "deleted"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


#: Temporal does not know the workflow, and the row is old enough for that to mean something.
MISSING_REASONS = (LeaveReason.NEVER_STARTED, LeaveReason.DELETED, LeaveReason.EXPIRED)


@dataclass(frozen=True, slots=True)
class Finish:
    """The row is to be finished with this outcome."""

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
    """The row stays as it is."""

    row: RunRow
    reason: LeaveReason
    detail: str | None = None
    #: Because of visibility alone.
    screened: bool = False


Verdict: TypeAlias = Finish | Leave
