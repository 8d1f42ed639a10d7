"""Why a workflow is open, shaped like Kubernetes' conditions: a reason, a sentence, since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.core.model import RowId


class Reason(StrEnum):
    """Why a workflow is open; the first that applies."""

    PAUSED = "Paused"
    WORKFLOW_TASK_FAILING = "WorkflowTaskFailing"
    NO_WORKER = "NoWorker"
    ACTIVITY_PAUSED = "ActivityPaused"
    ACTIVITY_RETRYING = "ActivityRetrying"
    ACTIVITY_SILENT = "ActivitySilent"
    NEXUS_BLOCKED = "NexusBlocked"
    WAITING_FOR_CHILD = "WaitingForChild"
    DELAYED = "Delayed"
    OVERDUE = "Overdue"
    #: Nothing is wrong: it waits for a timer, a signal, or work that makes progress.
    WAITING = "Waiting"

    @property
    def is_healthy(self) -> bool:
        """Whether there is nothing to report."""
        return self is Reason.WAITING


@dataclass(frozen=True, slots=True)
class Condition:
    """Why a workflow is open."""

    reason: Reason
    #: One line for people: the cause, and what is known about its course.
    text: str
    #: Since when, as far as Temporal says; None if it does not.
    since: datetime | None
    #: What `text` has in common with that of other workflows of the same problem; "" if nothing.
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why the workflow of a row is open, and which run it is."""

    condition: Condition
    run_id: str
    workflow_type: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """Why it is open cannot be said in this pass, but what is recorded of the row is wrong now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckRow:
    """A running row whose workflow is not healthy."""

    row_id: RowId
    workflow_id: str
    #: The open run.
    run_id: str
    workflow_type: str
    reason: Reason
    text: str
    cause: str
    #: The earliest time that Temporal named, or that a pass saw it.
    since: datetime
    #: When a pass last saw it.
    seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Stuck rows of one problem."""

    reason: Reason
    workflow_type: str
    #: Their common cause.
    text: str
    rows: int
    oldest_since: datetime
    #: The row that has been stuck for longest: its workflow id, and its own text.
    oldest_id: str
    oldest_text: str


@dataclass(frozen=True, slots=True)
class Groups:
    """The largest groups, and how many there are."""

    largest: Sequence[Group]
    #: Of all groups.
    groups: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAtRisk:
    """A running row that Temporal does not know, or gives no usable answer about."""

    row_id: RowId
    workflow_id: str
    #: Why it was left, such as `never_started`; see `LeaveReason`.
    reason: str
    text: str
    since: datetime
    seen: datetime
    #: Temporal forgets the outcome then, at the earliest; None if the row's age is not known.
    lost_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded of some rows."""

    stuck: Mapping[RowId, StuckRow] = field(default_factory=dict)
    at_risk: Mapping[RowId, RowAtRisk] = field(default_factory=dict)
