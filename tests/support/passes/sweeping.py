"""Passes with a history that remembers the sweep."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from reconciler.core.model import RowId
from reconciler.core.policy import Policy
from reconciler.core.ports import Probe, Store
from reconciler.core.report.pass_report import PassOutcome, PassReport, Report
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.report.sweep import Rest, Swept
from reconciler.passes.reconcile import run_pass
from tests.support.factories import NOW, policy
from tests.support.fakes import FakeHistory
from tests.support.passes.bench import reconcile

INTERVAL = timedelta(minutes=10)
HALF_A_MINUTE = timedelta(seconds=30)
#: Of a round, what is due after half a minute.
SHARE = 30 / (600 - 120)
#: An interval so long that no row is due soon after a pass.
NOBODY_DUE: dict[str, Any] = {"full_sweep_interval": timedelta(days=100)}
_OPTIONS = PassOptions(batch_size=100, full_sweep_interval=INTERVAL)
A_MOMENT_AGO = Swept(NOW - timedelta(seconds=1), NOW - timedelta(seconds=1))


def half_a_minute_ago(after: RowId | None, until: RowId, described: int = 0) -> Swept:
    """A round that is as far as its schedule, in which these rows are left."""
    began = NOW - HALF_A_MINUTE
    return Swept(began, began, Rest(after, until), described)


@dataclass
class Remembering(FakeHistory):
    """Knows the sweep of the last complete pass."""

    swept: Swept | None = A_MOMENT_AGO

    async def end(self, report: Report) -> None:
        await super().end(report)
        assert isinstance(report, PassReport)
        if report.outcome is not PassOutcome.ABORTED:
            self.swept = report.swept

    @property
    def reports(self) -> list[PassReport]:
        return [report for report in self.ended if isinstance(report, PassReport)]


async def screened_pass(store: Store, probe: Probe, *rules: Any, **options: Any) -> PassReport:
    """A pass in which no row is due, unless the options say otherwise."""
    given = {"history": Remembering(), **NOBODY_DUE, **options}
    return await reconcile(store, probe, *rules, **given)


@dataclass
class Loop:
    """Passes over one table, one after the other."""

    store: Store
    probe: Probe
    options: PassOptions = _OPTIONS
    rules: Policy = field(default_factory=policy)
    history: Remembering = field(default_factory=lambda: Remembering(None))
    now: datetime = NOW

    async def pass_(
        self, every: timedelta = HALF_A_MINUTE, *, mode: str = "run", **options: Any
    ) -> PassReport:
        self.now += every
        return await run_pass(
            self.store,
            self.probe,
            self.history,
            [],
            self.rules,
            replace(self.options, **options),
            self.now,
            PassReport.begin(PassRequest(mode), self.now),
        )

    async def stretch(self, every: timedelta = HALF_A_MINUTE, **options: Any) -> PassReport:
        return await self.pass_(every, stretch_only=True, **options)
