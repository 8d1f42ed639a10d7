"""The report of a pass: its request, its progress, and the tallies of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import uuid4

from reconciler.core.model import MISSING_REASONS, LeaveReason
from reconciler.core.policy import StatusValues
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Round, Swept
from reconciler.core.report.tally import Tally
from reconciler.core.table_warnings import TableWarning
from reconciler.core.text import iso
from reconciler.core.window import AgeSpread

#: The calls to Temporal that are reported: those about rows.
RPC_KINDS = ("describe", "history", "list", "queue")

#: The error of a pass that was asked to stop, unless there is more to say.
STOPPED = "stopped before its end"


class PassOutcome(StrEnum):
    """How a pass ended."""

    OK = "ok"
    #: Complete, but some rows could not be judged, or the breaker held them back.
    UNRESOLVED = "unresolved"
    #: Temporal or the database could not be used, or the pass was asked to stop.
    ABORTED = "aborted"


@dataclass(slots=True)
class Report:
    """What every pass reports, in any mode."""

    pass_id: str
    request: PassRequest
    started_at: datetime
    duration_seconds: float = 0.0
    #: Why it was aborted, in one line; None if it was not.
    error: str | None = None
    #: Whether it was asked to stop before its end.
    stopped: bool = False
    #: The error of a pass that was asked to stop.
    why_stopped: str = STOPPED
    #: Its end is being recorded, or has been: a request to stop changes nothing any more.
    ended: bool = False
    #: Another process began it.
    resumed: bool = False

    @classmethod
    def begin(cls, request: PassRequest, now: datetime) -> Self:
        """The report of a pass that begins now."""
        return cls(str(uuid4()), request, now)

    def become(self, other: Self) -> None:
        """Become the report of another pass, the one that is resumed."""
        for each in fields(other):
            if each.name != "why_stopped":  # about this process
                setattr(self, each.name, getattr(other, each.name))

    def stop(self) -> None:
        """Mark the pass as asked to stop: the rest is for the next one."""
        self.stopped = True
        self.error = self.why_stopped

    def correct(self, written: Mapping[str, int]) -> None:
        """Count what the journal says the pass has written.

        That may be more than the pass counted, if a write was cut off or the process killed.
        """
        raise NotImplementedError

    @property
    def outcome(self) -> PassOutcome:
        """How it ended; determines the exit code."""
        if self.error is not None:
            return PassOutcome.ABORTED
        return PassOutcome.UNRESOLVED if self.unresolved else PassOutcome.OK

    @property
    def more_left(self) -> bool:
        """Whether there is more to do: it was aborted, or ended at a limit."""
        return self.error is not None

    @property
    def unresolved(self) -> bool:
        """Whether rows remain that are not left by a rule."""
        raise NotImplementedError

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it and the `passes` table keeps it."""
        raise NotImplementedError


@dataclass(slots=True)
class PassReport(Report):
    """A pass over rows."""

    #: Includes the tallies of rows that get a second look; None until the pass begins.
    progress: Progress | None = None
    #: The tally of all other rows.
    done: Tally = field(default_factory=Tally)
    rpcs: Counter[str] = field(default_factory=Counter)
    #: Missing rows that the breaker held back.
    held_back: int = 0
    #: The ids of the namespaces in which workflows of rows were found.
    found_in: set[str] = field(default_factory=set)
    #: The ids of those in which rows are missing that the policy would fail.
    missing_in: set[str] = field(default_factory=set)
    #: Rows whose workflows were open, although visibility did not show them so.
    disagreements: int = 0
    #: The state of the sweep for the next pass: as before this one, until it completes.
    swept: Swept | None = None
    #: The round to which it belonged; None until it completes, or if it was no part of one.
    round: Round | None = None
    #: About the table as a whole.
    warnings: Sequence[TableWarning] = ()

    @property
    def tally(self) -> Tally:
        """Every row that was looked at, once. A copy."""
        total = Tally()
        total.add(self.done)
        for span in self._spans:
            total.add(span.tally)
        return total

    @property
    def to_recheck(self) -> int:
        """The number of rows that the second look is still expected to find; 0 during the scan."""
        scanning = self.progress is not None and self.progress.rest is not None
        return 0 if scanning else sum(span.to_recheck for span in self._spans)

    @property
    def changed(self) -> int:
        """Rows that were written, or would have been in a dry run."""
        looks = (look for span in self._spans for look in (span.first, span.second))
        return self.done.written.total() + sum(look.written.total() for look in looks)

    @property
    def _spans(self) -> list[Span]:
        return self.progress.to_recheck if self.progress else []

    def correct(self, written: Mapping[str, int]) -> None:
        """Count what the journal says the pass has written."""
        more = Counter(written) - self.tally.written
        if self.progress is not None:
            self.progress.unrecorded += more.total()
        if self.progress is not None and self.progress.rechecking and self._spans:
            self._spans[0].second.written.update(more)
        else:
            self.done.written.update(more)
            self.done.scanned += more.total()

    def end_span(self) -> None:
        """Record that the second look at the first span is complete."""
        if self.progress is not None:
            self.done.add(self._spans.pop(0).final_tally)
            self.progress.rechecking = bool(self._spans)

    def would_fail(self, status: str, limit: int) -> None:
        """In a dry run, count missing rows that the policy would fail, up to a limit."""
        failing = Counter[LeaveReason]()
        for span in self._spans:
            failing.update(span.failing)
        if failing.total() <= limit:
            self._end_second_look()
        for reason, count in failing.items():
            failed = min(count, limit)
            limit -= failed
            self.done.left[reason] -= failed
            self.done.written[status] += failed

    def hold_back(self) -> None:
        """Count missing rows as left because the breaker tripped."""
        for span in self._spans:
            self.held_back += span.failing.total()
            self.done.note_left([span.oldest_failing])
        self._end_second_look()

    def _end_second_look(self) -> None:
        for span in self._spans:
            self.done.add(span.tally)
        self._spans.clear()

    @property
    def unknown(self) -> int:
        """Rows that could not be judged, or that the database refused to write."""
        return self.tally.left[LeaveReason.UNKNOWN]

    @property
    def more_left(self) -> bool:
        """Whether there is more to do: it was aborted, or ended at a limit."""
        unfinished = self.progress is not None and self.progress.more_left
        return unfinished or self.error is not None

    @property
    def unresolved(self) -> bool:
        """Rows could not be judged, were held back, or not looked at; or none can ever be."""
        idle = any(warning.code.is_idle for warning in self.warnings)
        return bool(self.unknown or self.held_back or self.more_left or idle)

    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]:
        """The report as `--json` prints it; every key is always there."""
        ends = dict.fromkeys(statuses.ends, 0)
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
            "refused": tally.refused,
            "lost_races": tally.lost_races,
            "held_back": self.held_back,
            "missing": {reason.value: _spread(tally.missing[reason]) for reason in MISSING_REASONS},
            "more_left": self.more_left,
            "rpcs": {kind: self.rpcs[kind] for kind in RPC_KINDS},
            "warnings": [warning.as_json() for warning in self.warnings],
            "outcome": self.outcome.value,
        }


def _spread(spread: AgeSpread) -> Mapping[str, Any]:
    return {"rows": spread.rows, "oldest": iso(spread.oldest), "newest": iso(spread.newest)}
