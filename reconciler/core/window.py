"""Which of the running rows a backfill looks at; how many of some kind, and from when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.model import RunRow


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as it was given: a timestamp, or an age that depends on when it is asked."""

    text: str
    at: datetime | timedelta

    def __str__(self) -> str:
        return self.text

    def by(self, now: datetime) -> datetime:
        """The timestamp it stands for."""
        return now - self.at if isinstance(self.at, timedelta) else self.at


@dataclass(frozen=True, slots=True)
class Window:
    """Rows created in [since, until), of one type; None: no bound, any type.

    A row without a creation time is in no window that has a bound.
    """

    since: datetime | None = None
    until: datetime | None = None
    workflow_type: str | None = None


#: The window that every row is in.
EVERY = Window()


@dataclass(frozen=True, slots=True)
class AgeSpread:
    """How many rows, and when the oldest and the newest of them were created."""

    rows: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    @classmethod
    def of(cls, row: RunRow) -> AgeSpread:
        """A single row."""
        return cls(1, row.created_at, row.created_at)

    def plus(self, more: AgeSpread) -> AgeSpread:
        """Both together."""
        return AgeSpread(
            self.rows + more.rows,
            min(filter(None, (self.oldest, more.oldest)), default=None),
            max(filter(None, (self.newest, more.newest)), default=None),
        )
