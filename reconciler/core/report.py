"""What a pass did: what was asked of it, how far it has come, and the tallies of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import uuid4

from reconciler.core.model import MISSING_REASONS, CloseStatus, LeaveReason
from reconciler.core.progress import Progress
from reconciler.core.request import PassRequest
from reconciler.core.tally import Tally
from reconciler.core.text import iso
from reconciler.core.verdict import StatusValues
from reconciler.core.window import AgeSpread

#: The calls about rows; the one about the namespace is not worth a line.
RPC_KINDS = ("describe", "history", "list")


class PassOutcome(StrEnum):
    """How a pass ended."""

    OK = "ok"
    #: Done, but some rows could not be judged, or the breaker held them back.
    UNRESOLVED = "unresolved"
    #: Temporal or the database could not be used, or the pass was told to stop.
    ABORTED = "aborted"


@dataclass(slots=True)
class Report:
    """What every pass reports, whatever its mode."""

    pass_id: str
    request: PassRequest
    started_at: datetime
    duration_seconds: float = 0.0
    #: Why it was aborted, in one line; None if it was not.
    error: str | None = None
    #: Whether it was asked to stop before its end, and what its error is then.
    stopped: bool = False
    why_stopped: str = "stopped before its end"
    #: Its end is being recorded, or has been: a request to stop no longer changes anything.
    ended: bool = False
    #: It was begun by another process.
    resumed: bool = False

    @classmethod
    def begin(cls, request: PassRequest, now: datetime) -> Self:
        """The report of a pass that begins now."""
        return cls(str(uuid4()), request, now)

    def become(self, other: Self) -> None:
        """Take over the report of another pass: the one that turns out to be resumed."""
        for each in fields(other):
            if each.name != "why_stopped":  # which is about this process
                setattr(self, each.name, getattr(other, each.name))

    def stop(self) -> None:
        """The pass was asked to stop: what it has not looked at is for the next one."""
        self.stopped = True
        self.error = self.why_stopped

    def correct(self, written: Mapping[str, int]) -> None:
        """Count all that the journal says the pass has written.

        It may be more than the pass counted: a write was cut off, or a process killed after it.
        """
        raise NotImplementedError

    @property
    def outcome(self) -> PassOutcome:
        """How it ended, which is also what the exit code says."""
        if self.error is not None:
            return PassOutcome.ABORTED
        return PassOutcome.UNRESOLVED if self.unresolved else PassOutcome.OK

    @property
    def more_left(self) -> bool:
        """Whether there is more to do: it was aborted, or ended at a limit."""
        return self.error is not None

    @property
    def unresolved(self) -> bool:
        """Whether something remains that nobody has decided to leave."""
        raise NotImplementedError

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it and the `passes` table keeps it."""
        raise NotImplementedError


@dataclass(slots=True)
class PassReport(Report):
    """A pass over rows."""

    #: How far it has come, with the tallies of rows that get a second look; None before its
    #: beginning.
    progress: Progress | None = None
    #: The rows that do not.
    done: Tally = field(default_factory=Tally)
    rpcs: Counter[str] = field(default_factory=Counter)
    #: The breaker held back the rows that Temporal does not know.
    held_back: int = 0
    #: How often visibility said other than the description, by what it said: open, not_open.
    disagreements: Counter[str] = field(default_factory=Counter)
    #: Where the next pass begins its sweep, see `core.sweep`.
    sweep_end: float = 0.0

    @property
    def tally(self) -> Tally:
        """Every row that was looked at, once."""
        total = Tally()
        total.add(self.done)
        for span in self.progress.to_recheck if self.progress else ():
            total.add(span.tally)
        return total

    @property
    def to_recheck(self) -> int:
        """How many rows the second look is still expected to find; 0 before the scan is over."""
        if self.progress is None or self.progress.rest is not None:
            return 0
        return sum(span.to_recheck for span in self.progress.to_recheck)

    @property
    def changed(self) -> int:
        """Rows that were written; in a dry run, that would have been."""
        spans = self.progress.to_recheck if self.progress else ()
        in_spans = (tally.written.total() for span in spans for tally in (span.first, span.second))
        return self.done.written.total() + sum(in_spans)

    def correct(self, written: Mapping[str, int]) -> None:
        """Count all that the journal says the pass has written."""
        more = Counter(written) - self.tally.written
        progress = self.progress
        if progress is not None:
            progress.unrecorded += more.total()
        if progress is not None and progress.rechecking and progress.to_recheck:
            progress.to_recheck[0].second.written.update(more)
        else:
            self.done.written.update(more)
            self.done.scanned += more.total()

    def end_span(self) -> None:
        """The first of the spans to recheck has been gone over."""
        if self.progress is not None:
            self.done.add(self.progress.to_recheck.pop(0).final_tally)
            self.progress.rechecking = bool(self.progress.to_recheck)

    def would_fail(self, status: str, limit: int) -> None:
        """Count, in a dry run, missing rows that the policy would fail, up to a limit."""
        failing = Counter[LeaveReason]()
        for span in self.progress.to_recheck if self.progress else ():
            failing.update(span.failing)
        if failing.total() <= limit:
            self._end_second_look()
        for reason, count in failing.items():
            failed = min(count, limit)
            limit -= failed
            self.done.left[reason] -= failed
            self.done.written[status] += failed

    def hold_back(self) -> None:
        """Leave missing rows that the breaker keeps from being finished."""
        for span in self.progress.to_recheck if self.progress else ():
            self.held_back += span.failing.total()
            self.done.note_times([span.oldest_failing])
        self._end_second_look()

    def _end_second_look(self) -> None:
        if self.progress is not None:
            for span in self.progress.to_recheck:
                self.done.add(span.tally)
            self.progress.to_recheck.clear()

    @property
    def unknown(self) -> int:
        """Rows that could not be judged."""
        return self.tally.left[LeaveReason.UNKNOWN]

    @property
    def more_left(self) -> bool:
        """Whether there is more to do: it was aborted, or ended at a limit."""
        unfinished = self.progress is not None and self.progress.more_left
        return unfinished or self.error is not None

    @property
    def unresolved(self) -> bool:
        """Rows could not be judged, were held back, or have not been looked at."""
        return bool(self.unknown or self.held_back or self.more_left)

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it; every key is always there."""
        ends = dict.fromkeys((statuses.of(status) for status in CloseStatus), 0)
        reasons = [reason for reason in LeaveReason if reason is not LeaveReason.UNKNOWN]
        tally = self.tally
        return {
            "pass_id": self.pass_id,
            "mode": self.request.mode,
            "dry_run": self.request.dry_run,
            "started_at": self.started_at.isoformat(),
            "duration_seconds": round(self.duration_seconds, 3),
            "scanned": tally.scanned,
            "written": ends | dict(tally.written),
            "left": {reason.value: tally.left[reason] for reason in reasons},
            "screened": tally.screened,
            "unknown": tally.left[LeaveReason.UNKNOWN],
            "lost_races": tally.lost_races,
            "held_back": self.held_back,
            "missing": {reason.value: _spread(tally.missing[reason]) for reason in MISSING_REASONS},
            "more_left": self.more_left,
            "rpcs": {kind: self.rpcs[kind] for kind in RPC_KINDS},
            "outcome": self.outcome.value,
        }


def _spread(spread: AgeSpread) -> Mapping[str, Any]:
    return {"rows": spread.rows, "oldest": iso(spread.oldest), "newest": iso(spread.newest)}
