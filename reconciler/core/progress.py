"""How far a pass has come: enough for another process to go on from there.

Pure data. A pass keeps it on its report; `postgres.history` stores it after each page of a pass
that is to be resumable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.core.model import Finish, Leave, LeaveReason, RowId, Verdict

#: Spans that are kept apart. All of them are written down after each page.
MAX_SPANS = 200


@dataclass(slots=True)
class Span:
    """Rows by id, above `after` and up to and including `until`; and what was found among them.

    The figures are those of the first look at rows that are gone over a second time.
    """

    after: RowId | None
    until: RowId
    #: Rows left as they were at the first look, by reason.
    left: Counter[LeaveReason] = field(default_factory=Counter)
    #: Of these, the missing ones that the policy would fail; and when the oldest was created.
    failing: Counter[LeaveReason] = field(default_factory=Counter)
    oldest_failing: datetime | None = None
    #: Rows that were to be finished, and that somebody else had finished or was writing.
    lost: int = 0

    @classmethod
    def of(
        cls,
        after: RowId | None,
        until: RowId,
        verdicts: Collection[Verdict],
        written: Collection[RowId] = (),
        refused: Collection[RowId] = (),
    ) -> Span:
        """A page, and what it has left: whatever was not written."""
        span = cls(after, until)
        for verdict in verdicts:
            reason = left_for(verdict)
            if isinstance(verdict, Finish) and reason is None:
                if verdict.outcome.row.id in written:
                    continue
                reason = LeaveReason.UNKNOWN if verdict.outcome.row.id in refused else None
            elif isinstance(verdict, Finish) and reason is not None:
                span.failing[reason] += 1
                span._note(verdict.outcome.row.created_at)
            if reason is None:
                span.lost += 1
            else:
                span.left[reason] += 1
        return span

    @property
    def rows(self) -> int:
        """How many rows a second look is expected to find."""
        return self.left.total() + self.lost

    def take(self, reasons: Iterable[LeaveReason | None]) -> Taken:
        """Cross off rows, if possible such as were left for these reasons.

        A row may be left for another reason now. Which one that was does not matter in the end:
        once the span is done, all of its figures have been taken back.
        """
        taken = Taken()
        for wanted in reasons:
            reason = wanted if wanted and self.left[wanted] else next(iter(+self.left), None)
            if reason is not None:
                self.left[reason] -= 1
                taken.left[reason] += 1
            elif self.lost:
                self.lost -= 1
                taken.lost += 1
            else:
                taken.new += 1
        return taken

    def join(self, following: Span) -> None:
        """Take in the span that begins where this one ends."""
        self.until = following.until
        self.left.update(following.left)
        self.failing.update(following.failing)
        self.lost += following.lost
        self._note(following.oldest_failing)

    def _note(self, created_at: datetime | None) -> None:
        if created_at is not None:
            self.oldest_failing = min(self.oldest_failing or created_at, created_at)


@dataclass(slots=True)
class Taken:
    """What rows had been counted as before they were looked at again."""

    left: Counter[LeaveReason] = field(default_factory=Counter)
    lost: int = 0
    #: Not at all: they have turned up since.
    new: int = 0


@dataclass(slots=True)
class Progress:
    """What is still to be done."""

    #: What has not been scanned yet; None at the end.
    rest: Span | None = None
    #: Pages with missing rows that the policy would fail, for a second look after the scan: only
    #: then is their share known. Spans, not rows: memory must not grow with the table.
    again: list[Span] = field(default_factory=list)
    #: Whether the second look has begun.
    looks_again: bool = False
    #: Rows that a process before this one has written without coming to note it down.
    unnoted: int = 0

    @property
    def is_crowded(self) -> bool:
        """Whether there are so many spans that any page is kept, so that it joins the last."""
        return len(self.again) >= MAX_SPANS

    @property
    def more_left(self) -> bool:
        """Whether the pass has not come to its end."""
        return self.rest is not None or bool(self.again)

    def set_aside(self, page: Span) -> None:
        """Keep a page for the second look; pages that touch are kept as one span."""
        last = self.again[-1] if self.again else None
        if last is None or last.until != page.after:
            self.again.append(page)
        else:
            last.join(page)


def left_for(verdict: Verdict) -> LeaveReason | None:
    """Why the row stays for now; None if it is to be finished as closed."""
    return verdict.reason if isinstance(verdict, Leave) else verdict.missing


def is_missing(verdict: Verdict) -> bool:
    """Whether this finishes a row only because Temporal does not know its workflow."""
    return isinstance(verdict, Finish) and verdict.missing is not None


def up_to(
    limit: int, counts: Callable[[Verdict], bool], verdicts: Sequence[Verdict]
) -> Sequence[Verdict]:
    """The first verdicts, with no more than so many among them that count."""
    for index, verdict in enumerate(verdicts):
        if counts(verdict):
            if limit == 0:
                return verdicts[:index]
            limit -= 1
    return verdicts
