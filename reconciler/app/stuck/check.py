"""`reconciler stuck --check`: asks Temporal about every running row, and writes nothing.

A dry-run pass that describes each row, with an observer that finds out why workflows are open.
There may be millions: only sums and the rows to be listed are kept.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Protocol

from reconciler.app.app import App
from reconciler.app.stuck.known import Known, known_of
from reconciler.app.stuck.report import StuckReport
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Leave, LeaveReason, Mode, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.report.pass_report import PassReport
from reconciler.core.stuck.condition import Diagnosis, StuckRow
from reconciler.core.stuck.ports import Diagnosing
from reconciler.core.stuck.record import as_stuck_row
from reconciler.core.stuck.summary import Selection, Summary
from reconciler.passes.log import PassLog
from reconciler.settings.model import Settings

#: Bytes of rows that are kept in memory; more go to a temporary file.
IN_MEMORY = 8 * 1024 * 1024
#: Rows read back at a time.
PAGE = 500


class Listed(Protocol):
    """The rows that will be listed."""

    def add(self, row: StuckRow) -> None:
        """Take a stuck row."""
        ...

    def pages(self) -> AsyncGenerator[Sequence[StuckRow], None]:
        """The rows, page by page."""
        ...


class Longest:
    """The rows that have been stuck for longest, a few of them, those first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[StuckRow] = []

    def add(self, row: StuckRow) -> None:
        """Take a stuck row."""
        self._rows.append(row)
        if len(self._rows) > 2 * self._limit + PAGE:
            self._rows = self._longest()

    async def pages(self) -> AsyncGenerator[Sequence[StuckRow], None]:
        """The rows, at once."""
        yield self._longest()

    def _longest(self) -> list[StuckRow]:
        return sorted(self._rows, key=lambda row: row.since)[: self._limit]


class Spool:
    """All rows, in the order of the table."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._rows = 0

    def close(self) -> None:
        """Forget them."""
        self._file.close()

    def add(self, row: StuckRow) -> None:
        """Take a stuck row. Raises `ConfigurationError` if there is no room for it."""
        try:
            pickle.dump(row, self._file)
        except OSError as error:
            raise ConfigurationError(
                f"no room for a temporary file: {error.strerror}",
                "set TMPDIR to another folder, or use --limit",
            ) from error
        self._rows += 1

    async def pages(self) -> AsyncGenerator[Sequence[StuckRow], None]:
        """The rows, page by page."""
        self._file.seek(0)
        for start in range(0, self._rows, PAGE):
            size = min(PAGE, self._rows - start)
            yield [pickle.load(self._file) for _ in range(size)]  # noqa: S301 - written above


@dataclass(slots=True)
class Check(Observer):
    """Finds out why the workflows are open that a pass has described."""

    diagnosis: Diagnosing
    selection: Selection
    listed: Listed
    clock: Callable[[], datetime]
    #: What passes have recorded of rows, by which `since` survives; may be empty.
    known: Known
    summary: Summary = field(default_factory=Summary)
    #: Open workflows of which nothing could be said.
    undecided: int = 0

    async def on_start(self, report: PassView) -> None:  # noqa: ARG002
        """Ask again about queues."""
        self.diagnosis.start_pass()

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Judge the rows of a page that were left as open. Raises `Unusable`."""
        open_rows = [
            (verdict.row, verdict.evidence)
            for verdict in verdicts
            if isinstance(verdict, Leave) and verdict.reason is LeaveReason.OPEN
        ]
        described = [each for each in open_rows if each[1] is not None]
        self.undecided += len(open_rows) - len(described)
        if not described:
            return
        now = self.clock()
        known = await self.known([row.id for row, _ in described])
        found = await self.diagnosis.diagnose(described, now, known)
        for (row, _), diagnosis in zip(described, found, strict=True):
            if not isinstance(diagnosis, Diagnosis):
                self.undecided += 1
            elif not diagnosis.condition.reason.is_healthy:
                self._add(as_stuck_row(row, diagnosis, known.get(row.id), now), now)

    def _add(self, row: StuckRow, now: datetime) -> None:
        if self.selection.takes(row, now):
            self.summary.add(row)
            self.listed.add(row)


def describing_all(settings: Settings) -> Settings:
    """The settings of a pass that describes every row, whatever visibility says."""
    return settings.model_copy(update={"full_sweep_interval": timedelta()})


async def check(
    app: App,
    selection: Selection,
    listed: Listed,
    report: PassReport,
    others: Sequence[Observer] = (),
) -> StuckReport:
    """Ask Temporal about every running row; why that was aborted, if so, is in the report.

    `app` was opened with the settings of `describing_all`.
    """
    checking = Check(app.diagnosis, selection, listed, app.clock.now, await known_of(app))
    quiet = replace(app, pass_log=PassLog(each_row=False))
    await quiet.run_pass(Mode.ONCE, dry_run=True, observers=[checking, *others], report=report)
    now = app.clock.now()
    groups = checking.summary.groups
    return StuckReport(
        now=now,
        checked_at=now,
        rows=checking.summary.rows,
        groups=groups,
        all_groups=len(groups),
        unknown=report.unknown,
        undecided=checking.undecided,
        scanned=report.tally.scanned,
        warnings=report.warnings,
    )
