"""Observers whose trouble is not that of the pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import Unusable
from reconciler.core.model import Outcome, Verdict
from reconciler.core.ports import Observer, PassView
from reconciler.passes.lifecycle import Bystander
from tests.support.factories import closed, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import reconcile


class Broken(Observer):
    """Fails whenever it is called."""

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    async def on_start(self, report: PassView) -> None:
        self._fail()

    async def on_written(self, outcomes: Sequence[Outcome]) -> None:
        self._fail()

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        self._fail()

    async def on_pass(self, report: PassView) -> None:
        self._fail()

    def _fail(self) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "full"), ZeroDivisionError(), Unusable("no")])
async def test_a_pass_goes_on_without_them(error: Exception) -> None:
    store = MemoryStore([row(1), row(2)])
    probe = ScriptedProbe({"wf-1": closed(), "wf-2": closed()})
    broken = Broken(error)

    with capture_logs() as logged:
        report = await reconcile(store, probe, observers=[Bystander(broken)], batch_size=1)

    assert (report.error, sorted(store.finished)) == (None, [1, 2])
    assert broken.calls == 6
    said = [line for line in logged if line["log_level"] == "error"]
    assert [line["event"] for line in said] == ["an observer failed by a bug, please report it"]
