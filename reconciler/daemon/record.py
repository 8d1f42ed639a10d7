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

    def failed(self, what: str, why: str) -> None:
        """Note an error of this kind, which replaces the one before."""
        self._errors[what] = DatedError(self.clock(), what, why)

    def last_error(self, what: str) -> DatedError | None:
        """The last error of this kind, past or present."""
        return self._errors.get(what)

    @property
    def errors(self) -> Sequence[DatedError]:
        """The last error of each kind, newest first."""
        return sorted(self._errors.values(), key=lambda each: each.at, reverse=True)
