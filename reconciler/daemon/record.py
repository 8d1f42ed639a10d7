"""What the loop did and what went wrong, with the times: for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.app.overview.model import DatedError
from reconciler.postgres.connection.clock import host_time


@dataclass(slots=True)
class LoopRecord:
    """Filled in where something happens; kept while the process lives."""

    #: The database's clock, once that is connected.
    clock: Callable[[], datetime] = host_time
    #: When the last pass of this process began.
    pass_began_at: datetime | None = None
    #: When the next pass is tried after a failed one; None if the last one did not fail.
    retry_at: datetime | None = None
    _errors: dict[str, DatedError] = field(default_factory=dict)
    _since: dict[str, datetime] = field(default_factory=dict)

    def failed(self, what: str, why: str) -> None:
        """Note an error of this kind, which replaces the one before."""
        now = self.clock()
        self._errors[what] = DatedError(now, what, why)
        self._since.setdefault(what, now)

    def works(self, what: str) -> None:
        """Note that what failed works now; its last error is kept."""
        self._since.pop(what, None)

    def failing_since(self, what: str) -> datetime | None:
        """Since when nothing of this kind has worked; None if it works, or was never tried."""
        return self._since.get(what)

    def last_error(self, what: str) -> DatedError | None:
        """The last error of this kind, past or present."""
        return self._errors.get(what)

    @property
    def errors(self) -> Sequence[DatedError]:
        """The last error of each kind, newest first."""
        return sorted(self._errors.values(), key=lambda each: each.at, reverse=True)
