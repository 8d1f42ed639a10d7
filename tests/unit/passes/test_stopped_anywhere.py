"""Stopped at any step, also more than once, a pass records its end and counts what it wrote."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.model import Missing, Outcome, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.plan.read import Plan
from tests.support.factories import closed
from tests.support.fakes import MemoryStore
from tests.support.passes.applying import apply
from tests.support.passes.bench import FAIL, reconcile, rows, scripted
from tests.support.passes.plan_files import finishes, leaves, make_plan, read_plan
from tests.support.polling import deadline
from tests.support.properties import examples

#: Steps of the event loop before each request to stop; a pass here takes about a hundred.
REQUESTS = st.lists(st.integers(0, 60), min_size=1, max_size=3)


class Slow(MemoryStore):
    """Takes its time before a write and after it."""

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        await asyncio.sleep(0)
        written = await super().finish_if_running(pass_id, outcomes)
        # What the server has committed is known when its answer is here, not before.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.in_doubt += len(written.ids)
            raise
        return written

    in_doubt = 0


class Record(Observer):
    """What an observer gets, slowly."""

    def __init__(self) -> None:
        self.started: list[PassView] = []
        self.ended: list[tuple[PassOutcome, Counter[str], bool]] = []
        self.received: Counter[str] = Counter()

    async def on_start(self, report: PassView) -> None:
        self.started.append(report)
        await asyncio.sleep(0)

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        self.received.update(outcome.status for outcome in outcomes)
        await asyncio.sleep(0)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        await asyncio.sleep(0)

    async def on_pass(self, report: PassView) -> None:
        await asyncio.sleep(0)
        self.ended.append((report.outcome, report.tally.written, report.more_left))
        await asyncio.sleep(0)


Pass = Callable[[Slow, Record], Coroutine[Any, Any, PassReport]]


async def stopped_at(steps: Sequence[int], pass_: Pass) -> None:
    store, record = Slow(rows(12)), Record()
    before = asyncio.all_tasks()
    task = asyncio.create_task(pass_(store, record))
    for count in steps:
        for _ in range(count):
            await asyncio.sleep(0)
        task.cancel()
    async with deadline():
        await asyncio.wait([task])

    assert asyncio.all_tasks() == before, "no task is left"
    if not record.started:
        assert not store.finished
        return
    report = task.result()
    assert task.cancelling() == 0
    assert record.started == [report]
    written = Counter(outcome.status for outcome in store.finished.values())
    assert (written - report.tally.written).total() <= store.in_doubt
    assert not report.tally.written - written
    if len(steps) < 3:
        assert record.ended == [(report.outcome, report.tally.written, report.more_left)]
    if len(steps) == 1:
        assert written == report.tally.written == record.received
        assert report.stopped or not report.more_left


@pytest.mark.parametrize("pauses", [False, True])
@examples(100)
@given(steps=REQUESTS, batch_size=st.integers(1, 12))
async def test_a_pass_over_rows(steps: Sequence[int], batch_size: int, pauses: bool) -> None:
    async def over_rows(store: Slow, record: Record) -> PassReport:
        probe = scripted(Missing(), wf_2=closed(), wf_7=closed())
        options: dict[str, Any] = {"batch_size": batch_size, "pauses": pauses}
        return await reconcile(store, probe, FAIL, observers=[record], **options)

    with capture_logs():
        await stopped_at(steps, over_rows)


@pytest.fixture(scope="module")
async def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    verdicts = [*leaves(1), *finishes(*range(2, 11)), *leaves(11, 12)]
    return read_plan(await make_plan(tmp_path_factory.mktemp("plan") / "plan.jsonl", verdicts))


@examples(100)
@given(steps=REQUESTS, batch_size=st.integers(1, 12))
async def test_a_pass_over_a_plan(plan: Plan, steps: Sequence[int], batch_size: int) -> None:
    async def over_lines(store: Slow, record: Record) -> PassReport:
        return await apply(store, plan, record, batch_size=batch_size)

    with capture_logs():
        await stopped_at(steps, over_lines)
