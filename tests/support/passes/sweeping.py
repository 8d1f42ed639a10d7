"""Passes with a history that remembers the last sweep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from reconciler.core.model import RowId, RunRow
from reconciler.core.ports import Probe, Store
from reconciler.core.report.pass_report import PassOutcome, PassReport, Report
from reconciler.core.report.sweep import Sweep, Swept, next_sweep
from tests.support.factories import NOW
from tests.support.fakes import FakeHistory
from tests.support.passes.bench import reconcile

INTERVAL = timedelta(minutes=10)
#: An interval so long that no row is due soon after a pass.
NOBODY_DUE: dict[str, Any] = {"full_sweep_interval": timedelta(days=100)}
A_MOMENT_AGO = Swept(NOW - timedelta(seconds=1), end=0.0)
HALF_A_MINUTE_AGO = Swept(NOW - timedelta(seconds=30), end=0.3)


@dataclass
class Remembering(FakeHistory):
    """Knows where the sweep of the last complete pass ended."""

    swept: Swept | None = A_MOMENT_AGO

    async def end(self, report: Report) -> None:
        await super().end(report)
        assert isinstance(report, PassReport)
        if report.outcome is not PassOutcome.ABORTED:
            self.swept = Swept(report.started_at, report.sweep_end)

    @property
    def reports(self) -> list[PassReport]:
        return [report for report in self.ended if isinstance(report, PassReport)]


async def screened_pass(store: Store, probe: Probe, *rules: Any, **options: Any) -> PassReport:
    """A pass in which no row is due, unless `sweep` says otherwise."""
    given = {"history": Remembering(), **NOBODY_DUE, **options}
    return await reconcile(store, probe, *rules, **given)


def due_among(rows: list[RunRow], last: Swept = HALF_A_MINUTE_AGO) -> list[RowId]:
    sweep: Sweep = next_sweep(last, NOW, INTERVAL)
    return [row.id for row in rows if sweep.is_due(row.id)]
