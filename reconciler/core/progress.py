"""How far a pass has come: enough for another process to resume it.

Pure data. A pass keeps it on its report; the history stores it after each page of a pass that can
be resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.core.model import Finish, LeaveReason, RowId
from reconciler.core.tally import Tally

#: Spans that are kept apart. All of them are recorded after each page.
MAX_SPANS = 200


@dataclass(slots=True)
class Span:
    """Rows by id, above `after` and up to and including `until`."""

    after: RowId | None
    until: RowId
    #: What became of them at the first look.
    first: Tally = field(default_factory=Tally)
    #: What has become of them at the second look, as far as that has come.
    second: Tally = field(default_factory=Tally)
    #: Of those left at the first look, missing ones that the policy would fail; and when the
    #: oldest of these was created.
    failing: Counter[LeaveReason] = field(default_factory=Counter)
    oldest_failing: datetime | None = None

    def add_failing(self, failing: Iterable[Finish]) -> None:
        """Count missing rows that the policy would fail."""
        for finish in failing:
            if finish.missing is not None:
                self.failing[finish.missing] += 1
                self._note(finish.outcome.row.created_at)

    @property
    def to_recheck(self) -> int:
        """How many rows the second look is still expected to find."""
        return max(self._unsettled - self.second.ends, 0)

    @property
    def tally(self) -> Tally:
        """What became of each row: at the second look, or at the first where that has not come."""
        return self._with_second(self.first.less(self.second.ends))

    @property
    def final_tally(self) -> Tally:
        """The same once the second look is over: a row that was not found again is a lost race."""
        tally = self._with_second(self.first.less(self._unsettled))
        tally.lost_races += self.to_recheck
        return tally

    def _with_second(self, tally: Tally) -> Tally:
        tally.add_ends(self.second)
        tally.scanned += max(self.second.ends - self._unsettled, 0)  # they have turned up since
        return tally

    def join(self, following: Span) -> None:
        """Take in the span that begins where this one ends."""
        self.until = following.until
        self.first.add(following.first)
        self.failing.update(following.failing)
        self._note(following.oldest_failing)

    @property
    def _unsettled(self) -> int:
        return self.first.left.total() + self.first.lost_races

    def _note(self, created_at: datetime | None) -> None:
        if created_at is not None:
            self.oldest_failing = min(self.oldest_failing or created_at, created_at)


@dataclass(slots=True)
class Progress:
    """What is still to be done."""

    #: What has not been scanned yet; None at the end.
    rest: Span | None = None
    #: Pages with missing rows that the policy would fail, for a second look after the scan: only
    #: then is their share known. Spans, not rows: memory must not grow with the table.
    to_recheck: list[Span] = field(default_factory=list)
    #: Whether the second look has begun.
    rechecking: bool = False
    #: Rows that an earlier process has written without recording it.
    unrecorded: int = 0

    @property
    def is_crowded(self) -> bool:
        """Whether there are enough spans that any page is kept, so that it joins the last."""
        return len(self.to_recheck) >= MAX_SPANS

    @property
    def more_left(self) -> bool:
        """Whether the pass has not come to its end."""
        return self.rest is not None or bool(self.to_recheck)

    def set_aside(self, page: Span) -> None:
        """Keep a page for the second look; pages that touch are kept as one span."""
        last = self.to_recheck[-1] if self.to_recheck else None
        if last is None or last.until != page.after:
            self.to_recheck.append(page)
        else:
            last.join(page)
