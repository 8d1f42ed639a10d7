"""What became of the rows that the feed has found, as a pass over them says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from reconciler.core.feed.ended import Ended, LookEnd, WaitUntil, all_in_one
from reconciler.core.model import Finish, LeaveReason, Outcome, RowId, RunRow, Verdict
from reconciler.core.observer import Observer, PassView


class Endings(Observer):
    """Observes one pass, and says how the look at each row ended."""

    def __init__(self, grace: timedelta) -> None:
        """`grace`: how long rows are too young."""
        self._grace = grace
        self._verdicts: dict[RowId, Verdict] = {}
        self._written: set[RowId] = set()
        self._pass_time: datetime | None = None

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:  # noqa: ARG002
        """These rows are finished."""
        self._written.update(outcome.row.id for outcome in outcomes)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        """The verdicts on a page."""
        self._pass_time = report.started_at
        self._verdicts.update((verdict.row.id, verdict) for verdict in verdicts)

    def of(self, rows: Sequence[RunRow], now: datetime) -> LookEnd | None:
        """How the look at the rows of a workflow id ended; None if not all were looked at.

        `now`: by the clock of the feed, which may differ from that of the rows.
        """
        if any(row.id not in self._verdicts and row.id not in self._written for row in rows):
            return None
        return all_in_one(self._end_of(row, now) for row in rows)

    def _end_of(self, row: RunRow, now: datetime) -> LookEnd:
        verdict = self._verdicts.get(row.id)
        if row.id in self._written or verdict is None:
            return Ended.WRITTEN
        if isinstance(verdict, Finish):
            return Ended.TRY_AGAIN  # it was locked, refused, or somebody else has finished it
        match verdict.reason:
            case LeaveReason.OPEN:
                return Ended.OPEN
            case LeaveReason.UNKNOWN:
                return Ended.TRY_AGAIN
            case LeaveReason.TOO_YOUNG:
                return WaitUntil(now + self._until_old_enough(row))
            case _:
                return Ended.DROP

    def _until_old_enough(self, row: RunRow) -> timedelta:
        """As far as its age explains it; the memory of the feed paces what stays too young."""
        times = [time for time in (row.created_at, row.updated_at) if time is not None]
        if not times or self._pass_time is None:
            return timedelta()
        return max(max(times) + self._grace - self._pass_time, timedelta())
