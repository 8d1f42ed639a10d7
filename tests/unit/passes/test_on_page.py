"""What an observer gets after each page: the verdicts, and where to resume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.core.errors import Unusable
from reconciler.core.model import Leave, Missing, Observation, Open, Outcome, RowId, RunRow, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.passes.pipeline import AHEAD
from tests.support.factories import closed
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, Slow, reconcile, rows, scripted


@dataclass
class Pages(Observer):
    """Keeps the row ids of each page, and where the rest begins."""

    rows: list[list[RowId]] = field(default_factory=list)
    rest: list[RowId | None] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        assert isinstance(report, PassReport)
        assert report.progress is not None
        self.rows.append([_row(verdict).id for verdict in verdicts])
        rest = report.progress.rest
        self.rest.append(None if rest is None else rest.after)
        self.changed.append(report.changed)


def _row(verdict: Verdict) -> RunRow:
    return verdict.row if isinstance(verdict, Leave) else verdict.outcome.row


async def test_verdicts_come_in_the_order_of_the_rows_whatever_that_of_the_answers() -> None:
    asked, pages = 0, Pages()

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            nonlocal asked
            asked += 1
            for _ in range(20 - 3 * asked):  # the first is answered last
                await asyncio.sleep(0)
            return closed() if asked_row.id == 2 else Open()

    await reconcile(MemoryStore(rows(5)), Probe({}), observers=[pages])

    assert pages.rows == [[1, 2, 3, 4, 5]]


async def test_the_rest_begins_after_each_page_and_ends_with_the_last() -> None:
    pages = Pages()

    await reconcile(MemoryStore(rows(5)), scripted(Open()), observers=[pages], batch_size=2)

    assert pages.rows == [[1, 2], [3, 4], [5]]
    assert pages.rest == [2, 4, None]


async def test_the_page_has_been_written_by_then() -> None:
    class Order(Pages):
        written: tuple[int, ...] = ()

        async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
            self.written += (len(self.rows),)

    pages = Order()
    await reconcile(MemoryStore(rows(4)), scripted(closed()), observers=[pages], batch_size=2)

    assert pages.changed == [2, 4]
    assert pages.written == (0, 1), "notified of the write before the page"


async def test_it_is_notified_in_a_dry_run_too() -> None:
    pages = Pages()

    await reconcile(MemoryStore(rows(2)), scripted(closed()), observers=[pages], dry_run=True)

    assert (pages.rows, pages.changed) == ([[1, 2]], [2])


async def test_it_is_not_notified_of_a_page_cut_short_by_a_stop() -> None:
    probe, pages, store = Slow(3, closed()), Pages(), MemoryStore(rows(4))
    task = asyncio.create_task(reconcile(store, probe, observers=[pages], batch_size=2))
    await probe.hanging.wait()
    task.cancel()
    report = await task

    assert sorted(store.finished) == [1, 2, 3]
    assert pages.rows == [[1, 2]]
    assert report.progress is not None
    assert report.progress.rest is not None
    assert report.progress.rest.after == 2, "the row that was not answered is met again"


async def test_it_is_not_notified_of_a_second_look_cut_short_by_a_stop() -> None:
    probe, pages, store = Slow(4 + 3, Missing()), Pages(), MemoryStore(rows(4))
    task = asyncio.create_task(reconcile(store, probe, FAIL, observers=[pages], batch_size=2))
    await probe.hanging.wait()
    task.cancel()
    report = await task

    assert sorted(store.finished) == [1, 2, 3]
    assert len(pages.rows) == 2 + 1 + 1, "the scan, the beginning of the second look, a page of it"
    assert report.progress is not None
    assert [span.after for span in report.progress.to_recheck] == [2]


async def test_it_is_notified_of_the_part_of_a_page_within_a_limit() -> None:
    pages = Pages()
    probe = scripted(closed(), wf_2=Open())

    await reconcile(MemoryStore(rows(4)), probe, observers=[pages], max_changes=1)

    assert (pages.rows, pages.rest) == ([[1, 2]], [2])


async def test_missing_rows_that_are_to_be_failed_are_among_the_verdicts_of_their_page() -> None:
    pages = Pages()

    await reconcile(MemoryStore(rows(2)), scripted(Missing()), FAIL, observers=[pages])

    assert pages.rows == [[1, 2], [], [], []], "a second look comes without: beginning, page, end"
    assert pages.changed == [0, 0, 2, 2]


async def test_an_observer_that_fails_ends_the_pass() -> None:
    class Full(Observer):
        async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
            raise Unusable("disk full")

    probe = scripted(closed())
    store = MemoryStore(rows(2 * AHEAD + 6))
    report = await reconcile(store, probe, observers=[Full()], batch_size=2)

    assert (report.outcome, report.error) == (PassOutcome.ABORTED, "disk full")
    assert report.changed == 2, "what was written is counted"
    assert len(probe.asked) <= 2 * (AHEAD + 1), "no more than was under way"
