"""The progress of a pass: enough for another process to resume it.

Pure data, part of the report. The history stores it after each page of a pass that can be resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.core.model import Finish, LeaveReason, RowId
from reconciler.core.report.tally import Tally

#: Separate spans that are kept. All of them are recorded after each page.
MAX_SPANS = 200


@dataclass(slots=True)
class Span:
    """The rows with `after` < id <= `until`."""

    after: RowId | None
    until: RowId
    #: The counts of the first look.
    first: Tally = field(default_factory=Tally)
    #: The counts of the second look so far.
    second: Tally = field(default_factory=Tally)
    #: Of the rows left at the first look, missing ones that the policy would fail.
    failing: Counter[LeaveReason] = field(default_factory=Counter)
    #: When the oldest of these was created.
    oldest_failing: datetime | None = None

    def add_failing(self, failing: Iterable[Finish]) -> None:
        """Count missing rows that the policy would fail."""
        for finish in failing:
            if finish.missing is not None:
                self.failing[finish.missing] += 1
                self._note_failing(finish.row.created_at)

    @property
    def to_recheck(self) -> int:
        """The number of rows that the second look is still expected to find."""
        return max(self._unsettled - self.second.ends, 0)

    @property
    def tally(self) -> Tally:
        """Each row once: by its second look, or by its first if the second is still to come."""
        return self._with_second(self.first.less(self.second.ends))

    @property
    def final_tally(self) -> Tally:
        """The tally after the second look: a row that it did not find again is a lost race."""
        tally = self._with_second(self.first.less(self._unsettled))
        tally.lost_races += self.to_recheck
        return tally

    def _with_second(self, tally: Tally) -> Tally:
        tally.add_ends(self.second)
        tally.scanned += max(self.second.ends - self._unsettled, 0)  # found only now
        return tally

    def join(self, following: Span) -> None:
        """Extend this span by the one that begins where it ends."""
        self.until = following.until
        self.first.add(following.first)
        self.failing.update(following.failing)
        self._note_failing(following.oldest_failing)

    @property
    def _unsettled(self) -> int:
        return self.first.left.total() + self.first.lost_races

    def _note_failing(self, created_at: datetime | None) -> None:
        if created_at is not None:
            self.oldest_failing = min(self.oldest_failing or created_at, created_at)


@dataclass(slots=True)
class Progress:
    """What a pass still has to do."""

    #: What is not scanned yet; None after the scan.
    rest: Span | None = None
    #: Pages with missing rows that the policy would fail, for a second look after the scan: their
    #: share is not known before. Spans, not rows: memory must not grow with the table.
    to_recheck: list[Span] = field(default_factory=list)
    #: Whether the second look has begun.
    rechecking: bool = False
    #: Rows that an earlier process wrote but did not record.
    unrecorded: int = 0

    @property
    def is_crowded(self) -> bool:
        """Whether no more spans fit: then every page is kept, as part of the last span."""
        return len(self.to_recheck) >= MAX_SPANS

    @property
    def more_left(self) -> bool:
        """Whether the pass has rows left to look at."""
        return self.rest is not None or bool(self.to_recheck)

    def set_aside(self, page: Span) -> None:
        """Keep a page for the second look; adjacent pages become one span."""
        last = self.to_recheck[-1] if self.to_recheck else None
        if last is None or last.until != page.after:
            self.to_recheck.append(page)
        else:
            last.join(page)
