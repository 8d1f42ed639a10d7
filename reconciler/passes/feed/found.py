"""Rows that the feed has found, as a pass reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reconciler.core.model import Outcome, Rival, RowId, RunRow, Unknown
from reconciler.core.ports import Ending, Reach, Recording, Store, Written
from reconciler.core.report.pass_report import PassReport, Report
from reconciler.core.report.sweep import Rest


class FoundRows:
    """Implements `Store` over rows that were read already; the rest is the store's own.

    A pass reads them once and in their order: it never looks at one twice, since it does not fail
    missing rows.
    """

    def __init__(self, store: Store, rows: Sequence[RunRow], history: RecordedIfWritten) -> None:
        self._store, self._rows, self._history = store, rows, history
        self._read = 0

    async def last_running(self) -> RowId | None:
        """The id of the last one."""
        return self._rows[-1].id if self._rows else None

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:  # noqa: ARG002
        """The next of them."""
        page = self._rows[self._read : self._read + limit]
        self._read += len(page)
        return page

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        """Of the table: such a pass has no part in the sweep."""
        return await self._store.reach(after, until, rows)

    async def read_rest(self, recorded: Rest) -> Rest | None:
        """As above."""
        return await self._store.read_rest(recorded)

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        """As in any pass."""
        return await self._store.rivals(endings)

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """As in any pass, once the beginning of this one is recorded."""
        await self._history.record_begin()
        return await self._store.finish_if_running(pass_id, outcomes)


class RecordedIfWritten:
    """Implements `Recording` for passes that are recorded only if they write.

    Most of the feed's find that a row is to be left, or that somebody else has finished it.
    """

    def __init__(self, history: Recording) -> None:
        self._history = history
        self._report: Report | None = None
        self._recorded = False

    async def begin(self, report: Report) -> None:
        """Remember it; it has no part in the sweep."""
        self._report = report

    async def record_begin(self) -> None:
        """Record the beginning, before the first change refers to it."""
        if self._report is not None and not self._recorded:
            await self._history.begin(self._report)
            self._recorded = True

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        """As in any pass."""
        return await self._history.found_in(namespaces)

    async def checkpoint(self, report: PassReport) -> None:
        """Such a pass cannot be resumed."""

    async def written(self, pass_id: str) -> Mapping[str, int] | None:
        """What it has written, if it is recorded."""
        return await self._history.written(pass_id) if self._recorded else None

    async def end(self, report: Report) -> None:
        """Record the end, if the beginning is."""
        if self._recorded:
            await self._history.end(report)
