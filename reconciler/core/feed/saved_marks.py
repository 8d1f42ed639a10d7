"""Marks: up to which close time the closings of a status have been taken and dealt with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.model import CloseStatus


@dataclass(frozen=True, slots=True)
class SavedMarks:
    """The marks of a namespace as they were saved last."""

    #: A status of which no closing has been seen has none.
    marks: Mapping[CloseStatus, datetime]
    saved_at: datetime
    #: Now, by the clock of `saved_at`, the database's.
    read_at: datetime

    @property
    def age(self) -> timedelta:
        """How long ago they were saved; not negative, even if the clock was set back."""
        return max(self.read_at - self.saved_at, timedelta())
