"""Which running rows a backfill looks at, by age and type; and counts of rows with their ages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.core.model import RunRow


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as the operator gave it: a timestamp, or an age relative to now."""

    text: str
    at: datetime | timedelta

    def __str__(self) -> str:
        return self.text

    def by(self, now: datetime) -> datetime:
        """The timestamp."""
        return now - self.at if isinstance(self.at, timedelta) else self.at


@dataclass(frozen=True, slots=True)
class Window:
    """Rows created in [since, until), of one workflow type; None: no bound, any type.

    A window with a bound contains no row without a creation time.
    """

    since: datetime | None = None
    until: datetime | None = None
    workflow_type: str | None = None


#: The window with all rows.
EVERY = Window()


@dataclass(frozen=True, slots=True)
class AgeSpread:
    """A number of rows, and when the oldest and the newest of them were created."""

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
