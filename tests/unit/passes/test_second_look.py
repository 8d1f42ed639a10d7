"""After the scan, pages with missing rows that would be failed get a second look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconciler.core.model import Missing, Observation, Open, Outcome, RowId, RunRow, Unknown
from reconciler.core.observer import Observer, PassView
from reconciler.core.policy import MissingPolicy
from reconciler.core.ports import Written
from reconciler.core.report import progress
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.passes.log import PassLog
from reconciler.passes.pipeline import AHEAD
from tests.support.factories import closed, policy, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, accounted_for, in_turn, reconcile, rows, scripted


class Spans(Observer):
    """Keeps the spans for the second look, after each page."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[RowId | None, RowId]]] = []

    async def on_page(self, report: PassView, verdicts: Sequence[object]) -> None:
        assert isinstance(report, PassReport)
        assert report.progress is not None
        self.seen.append([(span.after, span.until) for span in report.progress.to_recheck])


async def test_adjacent_pages_with_missing_rows_are_kept_as_one_span() -> None:
    probe = scripted(Open(), wf_1=Missing(), wf_4=Missing(), wf_8=Missing())
    spans = Spans()

    await reconcile(MemoryStore(rows(8)), probe, FAIL, observers=[spans], batch_size=2)

    assert spans.seen[:4] == [[(None, 2)], [(None, 4)], [(None, 4)], [(None, 4), (6, 8)]]


async def test_the_number_of_spans_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MAX_SPANS", 2)
    probe, spans = scripted(Open(), wf_1=Missing(), wf_5=Missing(), wf_9=Missing()), Spans()

    report = await reconcile(MemoryStore(rows(12)), probe, FAIL, observers=[spans], batch_size=2)

    assert spans.seen[5] == [(None, 2), (4, 12)], "whatever comes after the second joins it"
    assert (report.tally.written, report.tally.left) == ({"failed": 3}, {"open": 9})
    assert report.tally.scanned == accounted_for(report) == 12


async def test_only_pages_with_missing_rows_are_asked_about_again() -> None:
    probe = scripted(Open(), wf_3=Missing())

    await reconcile(MemoryStore(rows(6)), probe, FAIL, batch_size=2)

    assert probe.asked[6:] == ["wf-3", "wf-4"]


async def test_a_row_that_was_open_at_first_and_has_closed_since_is_finished() -> None:
    store = MemoryStore(rows(2))
    probe = scripted(Missing(), wf_1=in_turn(Open(), closed()))

    report = await reconcile(store, probe, FAIL)

    assert report.tally.written == {"completed": 1, "failed": 1}
    assert store.finished[1].status == "completed"
    assert report.tally.scanned == accounted_for(report) == 2
    assert report.tally.left == {}


async def test_a_row_whose_workflow_has_started_since_is_left_open() -> None:
    store = MemoryStore(rows(3))
    probe = scripted(Open(), wf_1=in_turn(Missing(), Open()), wf_2=Missing())

    report = await reconcile(store, probe, FAIL)

    assert report.tally.written == {"failed": 1}
    assert report.tally.left == {"open": 2}
    assert report.tally.scanned == accounted_for(report) == 3


async def test_a_row_that_is_missing_only_since_the_first_look_is_failed_too() -> None:
    store = MemoryStore(rows(2))
    probe = scripted(Missing(), wf_1=in_turn(Open(), Missing()))

    report = await reconcile(store, probe, FAIL)

    assert report.tally.written == {"failed": 2}
    assert report.tally.left == {}


async def test_rows_finished_between_the_looks_are_lost_races() -> None:
    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if len(probe.asked) == 4:  # the scan is over
                self.running.pop(1, None)
                self.running.pop(2, None)
            return await super().scan_running(after, until, limit)

    probe = scripted(Missing(), wf_2=Open())

    report = await reconcile(Store(rows(4)), probe, FAIL, batch_size=4)

    assert report.tally.written == {"failed": 2}
    assert (report.tally.lost_races, report.tally.left) == (2, {})
    assert report.tally.scanned == accounted_for(report) == 4


async def test_a_row_finished_while_it_is_asked_about_again_is_a_lost_race() -> None:
    store, looks = MemoryStore(rows(2)), 0

    def finished_by_someone_else(asked: RunRow) -> Observation:
        nonlocal looks
        looks += 1
        if looks == 2:
            del store.running[asked.id]
        return Missing()

    report = await reconcile(store, scripted(Missing(), wf_1=finished_by_someone_else), FAIL)

    assert (report.changed, report.tally.lost_races, report.tally.left) == (1, 1, {})


async def test_a_row_that_can_no_longer_be_judged_is_unknown_once() -> None:
    probe = scripted(Open(), wf_1=in_turn(Missing(), Unknown("busy")), wf_2=Unknown("busy"))

    report = await reconcile(MemoryStore(rows(3)), probe, FAIL)

    assert report.tally.left == {"unknown": 2, "open": 1}
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_a_row_that_can_be_judged_at_the_second_look_is_no_longer_unknown() -> None:
    probe = scripted(Missing(), wf_1=in_turn(Unknown("busy"), closed()))

    report = await reconcile(MemoryStore(rows(2)), probe, FAIL)

    assert (report.changed, report.unknown) == (2, 0)
    assert report.outcome is PassOutcome.OK


async def test_a_missing_row_that_the_database_refuses_is_unknown_once() -> None:
    store = MemoryStore(rows(2))
    store.refused = {1: "trigger says no"}

    report = await reconcile(store, scripted(Missing()), FAIL)

    assert (report.tally.written, report.tally.left) == ({"failed": 1}, {"unknown": 1})


class CountedRow(RunRow):
    """A row that counts how many of its kind exist at a time."""

    __slots__ = ()
    alive = most = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        CountedRow.alive += 1
        CountedRow.most = max(CountedRow.most, CountedRow.alive)

    def __del__(self) -> None:
        CountedRow.alive -= 1


class Endless(MemoryStore):
    """A table with very many rows, which are made when they are read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.written = count, 0

    async def last_running(self) -> RowId:
        return self.count

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        first = int(str(after or 0)) + 1
        ids = range(first, min(first + limit, int(str(until)) + 1))
        return [CountedRow(i, f"wf-{i}", "run", row().created_at) for i in ids]

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        self.written += len(outcomes)
        return Written(frozenset(outcome.row.id for outcome in outcomes))


class Nothing(ScriptedProbe):
    """A Temporal that knows no workflow, and forgets what it was asked."""

    async def observe(self, asked_row: RunRow) -> Observation:
        return Missing()


async def test_memory_does_not_grow_with_the_number_of_missing_rows() -> None:
    store, spans = Endless(20_000), Spans()
    anyway = policy(missing=MissingPolicy.FAIL, max_missing_ratio=1.0)

    report = await reconcile(
        store, Nothing({}), anyway, observers=[spans], pass_log=PassLog(each_row=False)
    )

    assert (report.tally.scanned, report.changed, store.written) == (20_000, 20_000, 20_000)
    assert CountedRow.most <= (AHEAD + 2) * 500, "and the page that is being read"
    assert {len(seen) for seen in spans.seen[:-1]} == {1}


async def test_the_second_look_goes_page_by_page() -> None:
    class Store(MemoryStore):
        limits: tuple[int, ...] = ()

        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            self.limits += (limit,)
            return await super().scan_running(after, until, limit)

        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            assert len(outcomes) <= 2
            return await super().finish_if_running(pass_id, outcomes)

    store = Store(rows(7))
    report = await reconcile(store, scripted(Missing()), FAIL, batch_size=2)

    assert report.changed == 7
    assert set(store.limits) == {2}


async def test_without_a_second_look_the_caller_gets_the_spans_to_recheck() -> None:
    store = MemoryStore(rows(4))
    report = await reconcile(store, scripted(Missing()), FAIL, second_look=False, batch_size=2)

    assert not store.finished
    assert report.progress is not None
    assert [(span.after, span.until) for span in report.progress.to_recheck] == [(None, 4)]
    assert report.progress.rest is None
