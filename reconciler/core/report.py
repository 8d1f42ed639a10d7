"""What a pass did, folded from its verdicts and from what the writes returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from reconciler.core.model import (
    MISSING_REASONS,
    CloseStatus,
    Finish,
    Leave,
    LeaveReason,
    RowId,
    RunRow,
    Verdict,
)
from reconciler.core.progress import Progress, Span, Taken, left_for
from reconciler.core.sweep import Swept
from reconciler.core.text import iso
from reconciler.core.verdict import StatusValues
from reconciler.core.window import Spread

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
    """What every pass has to say, whatever its mode."""

    pass_id: str
    mode: str
    dry_run: bool
    started_at: datetime
    duration_seconds: float = 0.0
    #: Why it was aborted, in one line; None if it was not.
    error: str | None = None
    #: Whether it was asked to stop before its end, and what its error is then.
    stopped: bool = False
    why_stopped: str = "stopped before its end"
    #: Its end is being recorded, or has been: a request to stop no longer changes anything.
    ended: bool = False
    #: What it was asked to do; None for a pass over every row. The same again goes on with it.
    asked: Mapping[str, Any] | None = None
    #: It goes on with what another process has begun.
    resumed: bool = False
    #: Rows that were written, by the status they got.
    written: Counter[str] = field(default_factory=Counter)

    def become(self, other: Self) -> None:
        """Take over the report of another pass: the one that turns out to be resumed."""
        for each in fields(other):
            if each.name != "why_stopped":  # which is about this process
                setattr(self, each.name, getattr(other, each.name))

    def stop(self) -> None:
        """The pass was asked to stop: what it has not looked at is for the next one."""
        self.stopped = True
        self.error = self.why_stopped

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
    """The counts of one pass over rows.

    Counts what the write returned, not what was asked of it: a row that did not come back was
    finished by someone else in between, a lost race.
    """

    scanned: int = 0
    left: Counter[LeaveReason] = field(default_factory=Counter)
    lost_races: int = 0
    rpcs: Counter[str] = field(default_factory=Counter)
    #: The rows Temporal does not know, left or failed.
    missing: dict[LeaveReason, Spread] = field(
        default_factory=lambda: {reason: Spread() for reason in MISSING_REASONS}
    )
    #: The breaker held back the rows that Temporal does not know.
    held_back: int = 0
    #: When the oldest of the rows left as they are was created; None if there is none that says.
    oldest_left: datetime | None = None
    #: Rows left because visibility shows their workflows as open.
    screened: int = 0
    #: How often visibility said other than the description, by what it said: open, not_open.
    disagreements: Counter[str] = field(default_factory=Counter)
    #: The last complete pass, as whoever keeps note of passes has told it; and this one's end.
    swept: Swept | None = None
    sweep_end: float = 0.0
    #: How far it has come; None before its beginning.
    progress: Progress | None = None

    def add_scanned(self, verdicts: Collection[Verdict]) -> None:
        """Count rows that were looked at for the first time."""
        self.scanned += len(verdicts)
        for verdict in verdicts:
            reason = left_for(verdict)
            if reason in self.missing:
                row = verdict.row if isinstance(verdict, Leave) else verdict.outcome.row
                self.missing[reason].add(row)

    def add_left(self, verdicts: Iterable[Verdict]) -> None:
        """Count the rows these verdicts leave as they are."""
        leaves = [verdict for verdict in verdicts if isinstance(verdict, Leave)]
        self.left.update(leave.reason for leave in leaves)
        self._note_age(leave.row for leave in leaves)

    def add_written(
        self,
        asked: Collection[Finish],
        written: Collection[RowId],
        refused: Collection[RowId] = (),
    ) -> None:
        """Count a write: what was asked for, the ids it returned, the ids the database refused."""
        for finish in asked:
            if finish.outcome.row.id in written:
                self.written[finish.outcome.status] += 1
            elif finish.outcome.row.id in refused:
                self.left[LeaveReason.UNKNOWN] += 1
                self._note_age([finish.outcome.row])
            else:
                self.lost_races += 1

    def add_set_aside(self, verdicts: Iterable[Verdict]) -> None:
        """Count missing rows that the policy would fail: left, unless a second look finds else."""
        self.left.update(v.missing for v in verdicts if isinstance(v, Finish) and v.missing)

    def go_on(self, progress: Progress) -> None:
        """Count what the process before has written and not noted down."""
        if progress.looks_again and progress.again:
            self._take_back(progress.again[0].take([None] * progress.unnoted))
        else:
            self.scanned += progress.unnoted
        progress.unnoted = 0

    def look_again(self, span: Span, verdicts: Collection[Verdict]) -> None:
        """Take back what was counted of these rows at the first look; they are counted anew."""
        self._take_back(span.take(map(left_for, verdicts)))

    def end_span(self, span: Span) -> None:
        """A span has been gone over: rows that were no longer there were finished meanwhile."""
        self.lost_races += span.left.total()
        self.left -= span.left

    def _take_back(self, taken: Taken) -> None:
        self.left -= taken.left
        self.lost_races -= taken.lost
        self.scanned += taken.new

    def would_fail(self, spans: Iterable[Span], status: str, limit: int) -> bool:
        """Count, in a dry run, missing rows that the policy would fail, up to a limit.

        Whether these are all of them.
        """
        failing = [each for span in spans for each in span.failing.items()]
        are_all = sum(count for _, count in failing) <= limit
        for reason, count in failing:
            failed = min(count, limit)
            limit -= failed
            self.left[reason] -= failed
            self.written[status] += failed
        return are_all

    def hold_back(self, spans: Collection[Span]) -> None:
        """Count missing rows that the breaker keeps from being finished."""
        self.held_back += sum(span.failing.total() for span in spans)
        self._note_times(span.oldest_failing for span in spans)

    def _note_age(self, rows: Iterable[RunRow]) -> None:
        self._note_times(row.created_at for row in rows)

    def _note_times(self, times: Iterable[datetime | None]) -> None:
        known = [time for time in (self.oldest_left, *times) if time is not None]
        self.oldest_left = min(known, default=None)

    @property
    def unknown(self) -> int:
        """Rows that could not be judged."""
        return self.left[LeaveReason.UNKNOWN]

    @property
    def changed(self) -> int:
        """Rows that were written; in a dry run, that would have been."""
        return self.written.total()

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
        return {
            "pass_id": self.pass_id,
            "mode": self.mode,
            "dry_run": self.dry_run,
            "started_at": self.started_at.isoformat(),
            "duration_seconds": round(self.duration_seconds, 3),
            "scanned": self.scanned,
            "written": ends | dict(self.written),
            "left": {reason.value: self.left[reason] for reason in reasons},
            "screened": self.screened,
            "unknown": self.unknown,
            "lost_races": self.lost_races,
            "held_back": self.held_back,
            "missing": {reason.value: _spread(self.missing[reason]) for reason in MISSING_REASONS},
            "more_left": self.more_left,
            "rpcs": {kind: self.rpcs[kind] for kind in RPC_KINDS},
            "outcome": self.outcome.value,
        }


def _spread(spread: Spread) -> Mapping[str, Any]:
    return {"rows": spread.rows, "oldest": iso(spread.oldest), "newest": iso(spread.newest)}
