"""Visibility that lags or stays wrong: it is counted, and each row is described in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Missing, Observation, Open, RunRow, Unknown
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.sweep import Rest
from tests.support.factories import closed
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import rows
from tests.support.passes.sweeping import (
    HALF_A_MINUTE,
    INTERVAL,
    Loop,
    Remembering,
    half_a_minute_ago,
    screened_pass,
)


class Convinced(ScriptedProbe):
    """Visibility shows all workflows as open, or none, and never changes."""

    shown: bool | None = True

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        await super().screen(rows)
        return [self.shown] * len(rows)


async def disagreements(shown: bool | None, observation: Observation) -> int:
    """Disagreements over 100 rows, given what visibility and the description say."""
    probe = Convinced({}, observation)
    probe.shown = shown
    report = await screened_pass(MemoryStore(rows(100)), probe)
    assert len(probe.asked) == (0 if shown else 100)
    return report.disagreements


async def test_a_workflow_that_is_open_and_not_shown_as_such_is_a_disagreement() -> None:
    assert await disagreements(False, Open()) == 100


async def test_there_is_none_if_they_agree_or_one_is_not_known() -> None:
    assert await disagreements(True, Open()) == 0
    assert await disagreements(False, closed()) == 0
    assert await disagreements(False, Missing()) == 0
    assert await disagreements(None, Open()) == 0
    assert await disagreements(False, Unknown("busy")) == 0


async def test_every_row_is_repaired_in_time_though_visibility_is_wrong_for_ever() -> None:
    """All workflows are open at first, so that the first pass, which asks about all, leaves all."""
    store, probe = MemoryStore(rows(640)), Convinced({}, Open())
    loop = Loop(store, probe)
    await loop.pass_()
    began = loop.now
    probe.default = closed()

    repaired = []
    while loop.now + HALF_A_MINUTE <= began + INTERVAL:
        repaired.append((await loop.pass_()).changed)

    assert store.running == {}, "within the interval"
    assert repaired == [*[40] * 16, *[0] * 4], "evenly, and a fifth before its end"


async def test_the_next_pass_makes_up_for_one_that_failed() -> None:
    class Unreachable(Convinced):
        unreachable = False

        async def observe(self, asked_row: RunRow) -> Observation:
            if self.unreachable:
                raise TemporalUnusable("unreachable")
            return await super().observe(asked_row)

    probe = Unreachable({}, Open())
    loop = Loop(MemoryStore(rows(640)), probe)
    await loop.pass_()
    before = loop.history.swept
    probe.unreachable = True
    aborted = await loop.pass_()
    probe.unreachable = False
    assert (aborted.outcome, loop.history.swept) == (PassOutcome.ABORTED, before)
    probe.asked.clear()

    report = await loop.pass_()

    assert len(probe.asked) == 80, "the share of both"
    assert report.swept is not None
    assert report.swept.rest == Rest(80, 640)


async def test_a_pass_that_was_stopped_has_not_swept() -> None:
    hanging = asyncio.Event()

    class Hanging(Convinced):
        async def observe(self, asked_row: RunRow) -> Observation:
            hanging.set()
            await asyncio.Event().wait()
            raise AssertionError

    before = half_a_minute_ago(None, 100)
    history, probe = Remembering(before), Hanging({})
    options: Any = {"history": history, "full_sweep_interval": INTERVAL, "mode": "run"}
    task = asyncio.create_task(screened_pass(MemoryStore(rows(100)), probe, **options))
    await hanging.wait()
    task.cancel()
    report = await task

    assert report.stopped
    assert history.swept == before


async def test_a_day_without_a_pass_is_followed_by_one_that_describes_every_row() -> None:
    probe = Convinced({}, Open())
    loop = Loop(MemoryStore(rows(100)), probe)
    await loop.pass_()
    await loop.pass_()
    probe.asked.clear()

    await loop.pass_(timedelta(days=1))

    assert len(probe.asked) == 100
