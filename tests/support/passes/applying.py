"""Applying a plan to fakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reconciler.core.model import RowId, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.ports import History
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.passes.log import PassLog
from reconciler.plan.apply import Redact, apply_plan
from reconciler.plan.read import Plan
from tests.support.factories import NOW, row
from tests.support.fakes import FakeHistory, MemoryStore, Recorder


@dataclass
class Pages(Recorder):
    """Also records the ids of each batch, and the span that another process would resume."""

    pages: list[list[RowId]] = field(default_factory=list)
    rest: list[Span | None] = field(default_factory=list)
    after_page: Callable[[], None] = lambda: None

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        assert isinstance(report, PassReport)
        assert report.progress
        self.pages.append([v.outcome.row.id for v in verdicts])  # type: ignore[union-attr]
        self.rest.append(report.progress.rest)
        self.after_page()


def table(*numbers: int) -> MemoryStore:
    return MemoryStore(row(number) for number in numbers)


def new_report() -> PassReport:
    return PassReport("pass", PassRequest("backfill", asked={}), started_at=NOW)


async def apply(
    store: MemoryStore,
    plan: Plan,
    observer: Observer | None = None,
    *,
    history: History | None = None,
    report: PassReport | None = None,
    force: bool = False,
    redact: Redact | None = None,
    **options: int,
) -> PassReport:
    return await apply_plan(
        store,
        plan,
        history or FakeHistory(),
        [observer or Recorder()],
        "running",
        PassOptions(**options),  # type: ignore[arg-type]
        PassLog(),
        report or new_report(),
        force=force,
        redact=redact,
    )
