"""Watches which rows stay running: why their workflows are open, and which may lose their outcome.

An observer of passes that write. It asks only about rows that the pass has described. No failure of
it ends the pass: what one pass could not record, the next one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.model import Leave, LeaveReason, RowId, RunRow, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.stuck.condition import Diagnosis, Outdated, Reason, Recorded, StuckRow
from reconciler.core.stuck.ports import Diagnosing, StuckRows
from reconciler.core.stuck.record import as_row_at_risk, as_stuck_row, is_at_risk

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class StuckCounts:
    """How many rows are stuck for each reason, and since when, as the last pass left them."""

    #: None before the first pass, and on a replica that does not pass.
    by_reason: Mapping[Reason, tuple[int, datetime]] | None = None


class Watch(Observer):
    """Records which rows of one pass are stuck, or may lose their outcome."""

    def __init__(
        self,
        rows: StuckRows,
        diagnosing: Diagnosing,
        counts: StuckCounts,
        clock: Callable[[], datetime],
        retention: Callable[[RunRow], timedelta | None],
    ) -> None:
        """`clock`: the database's; `retention`: of the row's namespace, None if it is not known."""
        self._rows, self._diagnosing, self._counts = rows, diagnosing, counts
        self._clock, self._retention = clock, retention
        #: Whether nothing is recorded; None: not known yet.
        self._empty: bool | None = None
        #: Not after a failure, for the rest of the pass: each may take half a minute.
        self._records = self._diagnoses = True

    async def on_start(self, report: PassView) -> None:  # noqa: ARG002
        """Begin a new allowance: what may be asked is per pass."""
        self._diagnosing.start_pass()

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        """Record what is wrong with the page's rows, and forget what was."""
        page = _Page.of(verdicts)
        # A pass with an error has been asked to stop: nothing more is asked.
        if not self._records or not page.ids or report.error is not None:
            return
        try:
            await self._note(page)
        except Unusable as error:
            self._failed(error)

    async def on_pass(self, report: PassView) -> None:
        """Forget rows that are not running any more, and count the others."""
        if not self._records or report.error is not None:
            return
        try:
            if await self._is_empty():
                self._counts.by_reason = {}
                return
            await self._rows.forget_ended()
            self._counts.by_reason = await self._rows.counts()
        except Unusable as error:
            self._failed(error)

    def _failed(self, error: Unusable) -> None:
        self._records = False
        log.warning("stuck_not_recorded", error=str(error))

    async def _note(self, page: _Page) -> None:
        now = self._clock()
        known = Recorded() if await self._is_empty() else await self._rows.known(page.ids)
        diagnoses = await self._diagnose(page.open, now, known)
        stuck, fine = list[StuckRow](), list(page.fine)
        for (row, _), found in zip(page.open, diagnoses, strict=True):
            if isinstance(found, Diagnosis) and not found.condition.reason.is_healthy:
                stuck.append(as_stuck_row(row, found, known.stuck.get(row.id), now))
            elif found is not None or row.id in known.at_risk:  # Temporal knows it now
                fine.append(row.id)
        at_risk = [
            as_row_at_risk(each, known.at_risk.get(each.row.id), self._retention(each.row), now)
            for each in page.at_risk
        ]
        gone = [row_id for row_id in fine if row_id in known.stuck or row_id in known.at_risk]
        if stuck or at_risk or gone:
            self._empty = False
            await self._rows.record(stuck, at_risk, gone)

    async def _diagnose(
        self, rows: Sequence[tuple[RunRow, object]], now: datetime, known: Recorded
    ) -> Sequence[Diagnosis | Outdated | None]:
        if rows and self._diagnoses:
            try:
                return await self._diagnosing.diagnose(rows, now, known.stuck)
            except Unusable as error:
                self._diagnoses = False
                log.warning("stuck_not_diagnosed", error=str(error))
        return [None] * len(rows)

    async def _is_empty(self) -> bool:
        if self._empty is None:
            self._empty = await self._rows.is_empty()
        return self._empty


@dataclass(slots=True)
class _Page:
    """The rows of a page of which something is known now; those that were screened are left out."""

    open: list[tuple[RunRow, object]] = field(default_factory=list)
    at_risk: list[Verdict] = field(default_factory=list)
    #: Neither.
    fine: list[RowId] = field(default_factory=list)

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> _Page:
        page = cls()
        for verdict in verdicts:
            reason = verdict.reason if isinstance(verdict, Leave) else None
            if isinstance(verdict, Leave) and reason is LeaveReason.OPEN:
                if verdict.evidence is not None and not verdict.screened:
                    page.open.append((verdict.row, verdict.evidence))
            elif is_at_risk(verdict):
                page.at_risk.append(verdict)
            elif reason is not LeaveReason.TOO_YOUNG:
                page.fine.append(verdict.row.id)
        return page

    @property
    def ids(self) -> list[RowId]:
        described = [row for row, _ in self.open]
        return [*(row.id for row in described), *(v.row.id for v in self.at_risk), *self.fine]
