"""Visibility that lags or stays wrong: it is counted, and each row is described in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Closed, CloseStatus, Missing, Observation, Open, RunRow, Unknown
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.passes.reconcile import run_pass
from tests.support.factories import NOW, closed, policy
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import rows
from tests.support.passes.sweeping import (
    HALF_A_MINUTE_AGO,
    INTERVAL,
    Remembering,
    due_among,
    screened_pass,
)

#: By the pass's own clock: the host's may be days off.
AFTER_VISIBILITY_WAS_ASKED = Closed(CloseStatus.COMPLETED, NOW + timedelta(hours=1), "run")
SHARE = 30 / (600 - 2 * 60)


class Convinced(ScriptedProbe):
    """Visibility shows all workflows as open, or none, and never changes."""

    shown: bool | None = True

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        await super().screen(rows)
        return [self.shown] * len(rows)


async def disagreements(shown: bool | None, observation: Observation) -> dict[str, int]:
    """Disagreements over 100 rows, given what visibility and the description say."""
    probe = Convinced({}, observation)
    probe.shown = shown
    report = await screened_pass(
        MemoryStore(rows(100)),
        probe,
        history=Remembering(HALF_A_MINUTE_AGO),
        full_sweep_interval=INTERVAL,
    )
    assert len(probe.asked) == (len(due_among(rows(100))) if shown else 100)
    return dict(report.disagreements)


async def test_a_workflow_shown_as_open_that_had_ended_is_a_disagreement() -> None:
    due = len(due_among(rows(100)))

    assert await disagreements(True, closed()) == {"open": due}
    assert await disagreements(True, Missing()) == {"open": due}


async def test_a_workflow_that_ended_after_visibility_was_asked_is_none() -> None:
    assert await disagreements(True, AFTER_VISIBILITY_WAS_ASKED) == {}


async def test_a_workflow_that_is_open_and_not_shown_as_such_is_a_disagreement() -> None:
    assert await disagreements(False, Open()) == {"not_open": 100}


async def test_there_is_none_if_they_agree_or_one_is_not_known() -> None:
    assert await disagreements(True, Open()) == {}
    assert await disagreements(False, closed()) == {}
    assert await disagreements(False, Missing()) == {}
    assert await disagreements(None, Open()) == {}
    assert await disagreements(None, closed()) == {}
    assert await disagreements(True, Unknown("busy")) == {}
    assert await disagreements(False, Unknown("busy")) == {}


class Loop:
    """Passes over one table at equal distances, one of which may fail."""

    def __init__(self, store: MemoryStore, probe: ScriptedProbe) -> None:
        self.store, self.probe = store, probe
        self.history = Remembering(None)
        self.now = NOW

    async def pass_(self, every: timedelta = timedelta(seconds=30)) -> PassReport:
        self.now += every
        options = PassOptions(batch_size=100, full_sweep_interval=INTERVAL)
        rules = policy()
        report = PassReport.begin(PassRequest("run"), self.now)
        return await run_pass(
            self.store, self.probe, self.history, [], rules, options, self.now, report
        )


async def test_every_row_is_repaired_in_time_though_visibility_is_wrong_for_ever() -> None:
    """All workflows are open at first, so that the first pass, which asks about all, leaves all."""
    store, probe = MemoryStore(rows(600)), Convinced({}, Open())
    loop = Loop(store, probe)
    await loop.pass_()
    began = loop.now
    probe.default = closed()

    repaired = []
    while loop.now + timedelta(seconds=30) <= began + INTERVAL:
        repaired.append((await loop.pass_()).changed)

    assert store.running == {}, "within the interval"
    assert repaired[16:] == [0] * (len(repaired) - 16), "a fifth before its end"
    share = 600 * SHARE
    assert all(0.5 * share < count < 1.5 * share for count in repaired[:16]), "evenly"
    wrong = sum((report.disagreements for report in loop.history.reports), start=Counter[str]())
    assert wrong == {"open": 600}


async def test_the_next_pass_makes_up_for_one_that_failed() -> None:
    class Unreachable(Convinced):
        unreachable = False

        async def observe(self, asked_row: RunRow) -> Observation:
            if self.unreachable:
                raise TemporalUnusable("unreachable")
            return await super().observe(asked_row)

    probe = Unreachable({}, Open())
    loop = Loop(MemoryStore(rows(600)), probe)
    await loop.pass_()
    position = loop.history.swept
    probe.unreachable = True
    aborted = await loop.pass_()
    probe.unreachable = False
    probe.asked.clear()

    report = await loop.pass_()

    assert aborted.outcome is PassOutcome.ABORTED
    assert position is not None
    expected = position.end + 60 / (600 - 2 * 60)  # it moves on complete passes only
    assert report.sweep_end == expected
    assert loop.history.swept == Swept(loop.now, expected)
    assert len(probe.asked) > 1.5 * 600 * SHARE, "the share of both"


async def test_a_pass_that_was_stopped_has_not_swept() -> None:
    hanging = asyncio.Event()

    class Hanging(Convinced):
        async def observe(self, asked_row: RunRow) -> Observation:
            hanging.set()
            await asyncio.Event().wait()
            raise AssertionError

    history, probe = Remembering(HALF_A_MINUTE_AGO), Hanging({})
    options: Any = {"history": history, "full_sweep_interval": INTERVAL}
    task = asyncio.create_task(screened_pass(MemoryStore(rows(100)), probe, **options))
    await hanging.wait()
    task.cancel()
    report = await task

    assert report.stopped
    assert report.tally.screened == 100 - len(due_among(rows(100))), "what is known is reported"
    assert history.swept == HALF_A_MINUTE_AGO


async def test_each_pass_says_where_the_next_begins() -> None:
    history = Remembering(Swept(NOW - timedelta(seconds=30), end=0.99))
    options: Any = {"history": history, "full_sweep_interval": INTERVAL}

    report = await screened_pass(MemoryStore(rows(10)), Convinced({}, Open()), **options)

    assert abs(report.sweep_end - (0.99 + SHARE - 1)) < 1e-9, "round the circle"
    assert history.swept == Swept(NOW, report.sweep_end)
