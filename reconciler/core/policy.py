"""The rules that the operator chose: status values, grace, what to do with missing rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import assert_never

from reconciler.core.model import CloseStatus
from reconciler.core.own_use import FURTHEST_ZONE
from reconciler.core.text import one_line, or_null


class MissingPolicy(StrEnum):
    """What to do with a row whose workflow Temporal does not know."""

    LEAVE = "leave"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class StatusValues:
    """The values of the application's status column."""

    #: The values of a row that has not ended; None: null.
    running: tuple[str | None, ...] = ("running",)
    #: None: rows whose workflow completed are left, since only the application knows their status.
    completed: str | None = "completed"
    failed: str = "failed"
    canceled: str = "failed"
    terminated: str = "failed"
    timed_out: str = "failed"

    @property
    def running_label(self) -> str:
        """The running values for people to read."""
        return " or ".join(map(or_null, self.running))

    @property
    def every(self) -> frozenset[str | None]:
        """All of them."""
        return frozenset((*self.running, *self.ends))

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that are written, without repetition."""
        return tuple(dict.fromkeys(filter(None, map(self.of, CloseStatus))))

    def of(self, status: CloseStatus) -> str | None:
        """The value that stands for this close status; None if such rows are left."""
        match status:
            case CloseStatus.COMPLETED:
                return self.completed
            case CloseStatus.FAILED:
                return self.failed
            case CloseStatus.CANCELED:
                return self.canceled
            case CloseStatus.TERMINATED:
                return self.terminated
            case CloseStatus.TIMED_OUT:
                return self.timed_out
            case _:
                assert_never(status)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules the operator chose, and the retention, which Temporal decides."""

    #: How long Temporal keeps a closed workflow in the connection's namespace (DescribeNamespace).
    retention: timedelta
    #: Rows are inserted before their workflow starts: a younger row may still be waiting for it.
    grace: timedelta = timedelta(seconds=60)
    missing: MissingPolicy = MissingPolicy.LEAVE
    #: Above this share of missing rows the breaker trips: the configuration may be wrong.
    max_missing_ratio: float = 0.5
    #: Characters of error_message that are kept.
    error_message_limit: int = 2000
    statuses: StatusValues = field(default_factory=StatusValues)
    #: How much older than it is a row may look, because its time zone is not known for certain.
    shift: timedelta = timedelta(0)
    #: The connection's, which also applies to rows that name none.
    namespace: str = ""

    @property
    def off(self) -> timedelta:
        """How far a row's times may be off, in either direction."""
        return FURTHEST_ZONE if self.shift else timedelta(0)

    def message(self, failure: str) -> str:
        """The error message for a failure: one line, cut to the limit."""
        return one_line(failure, self.error_message_limit)
