"""Observers whose trouble is not that of the pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import Unusable
from reconciler.core.model import Outcome, Verdict
from reconciler.core.options import PassOptions
from reconciler.core.ports import Observer
from reconciler.core.report import PassReport
from reconciler.passes.lifecycle import Bystander
from reconciler.passes.reconcile import run_pass
from tests.support.factories import NOW, closed, policy, row
from tests.support.fakes import MemoryStore, ScriptedProbe


class Broken(Observer):
    """Fails whenever it is called."""

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    async def on_start(self, report: PassReport) -> None:
        self._fail()

    async def on_written(self, outcomes: Sequence[Outcome]) -> None:
        self._fail()

    async def on_page(self, report: PassReport, verdicts: Sequence[Verdict]) -> None:
        self._fail()

    async def on_pass(self, report: PassReport) -> None:
        self._fail()

    def _fail(self) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "full"), ZeroDivisionError(), Unusable("no")])
async def test_a_pass_goes_on_without_them(error: Exception) -> None:
    store = MemoryStore([row(1), row(2)])
    probe = ScriptedProbe({"wf-1": closed(), "wf-2": closed()})
    broken = Broken(error)
    options = PassOptions("run", dry_run=False, batch_size=1)

    with capture_logs() as logged:
        report = await run_pass(store, probe, [Bystander(broken)], policy(), options, NOW)

    assert (report.error, sorted(store.finished)) == (None, [1, 2])
    assert broken.calls == 6
    said = [line for line in logged if line["log_level"] == "error"]
    assert [line["event"] for line in said] == ["an observer failed by a bug, please report it"]
