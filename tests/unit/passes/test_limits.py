"""Limits: of the rows a pass looks at, and of those it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from reconciler.core.model import Missing, Observation, Open, Outcome, RowId, RunRow
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.progress import Span
from tests.support.factories import closed, row
from tests.support.fakes import MemoryStore
from tests.support.passes.bench import FAIL, accounted_for, in_turn, reconcile, rows, scripted
from tests.support.polling import deadline


def rest_of(report: PassReport) -> Span | None:
    assert report.progress is not None
    return report.progress.rest


@pytest.mark.parametrize("batch_size", [2, 3, 5, 100])
async def test_no_more_rows_are_looked_at_than_the_limit(batch_size: int) -> None:
    store, probe = MemoryStore(rows(9)), scripted(closed())

    report = await reconcile(store, probe, limit=5, batch_size=batch_size)

    assert sorted(probe.asked) == ["wf-1", "wf-2", "wf-3", "wf-4", "wf-5"]
    assert report.tally.scanned == report.changed == 5
    assert rest_of(report) == Span(5, 9)
    assert (report.more_left, report.outcome) == (True, PassOutcome.UNRESOLVED)


@pytest.mark.parametrize("limit", [9, 10])
@pytest.mark.parametrize("batch_size", [3, 4, 100])
async def test_a_limit_that_is_not_exceeded_leaves_nothing(limit: int, batch_size: int) -> None:
    report = await reconcile(
        MemoryStore(rows(9)), scripted(Open()), limit=limit, batch_size=batch_size
    )

    assert report.tally.scanned == 9
    assert rest_of(report) is None
    assert (report.more_left, report.outcome) == (False, PassOutcome.OK)


async def test_at_the_limit_a_page_being_read_ahead_is_not_waited_for() -> None:
    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after is not None:
                await asyncio.Event().wait()
            return await super().scan_running(after, until, limit)

    before = asyncio.all_tasks()
    async with deadline() as within:
        report = await reconcile(Store(rows(4)), scripted(Open()), limit=2, batch_size=2)

    assert not within.expired()
    assert (report.tally.scanned, report.more_left) == (2, True)
    assert asyncio.all_tasks() == before


async def test_rows_past_the_limit_are_left_also_in_a_dry_run() -> None:
    report = await reconcile(MemoryStore(rows(9)), scripted(closed()), limit=4, dry_run=True)

    assert (report.tally.scanned, report.changed, report.more_left) == (4, 4, True)


async def test_missing_rows_wait_for_the_end_of_the_scan_and_not_for_the_limit() -> None:
    """Ten rows of a table that Temporal knows nothing of are too few for the breaker to trip."""
    store = MemoryStore(rows(40))

    report = await reconcile(store, scripted(Missing()), FAIL, limit=10, batch_size=5)

    assert (report.changed, report.tally.left) == (0, {"deleted": 10})
    assert report.more_left


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 100])
async def test_no_more_rows_are_written_than_the_limit(batch_size: int, dry_run: bool) -> None:
    store = MemoryStore(rows(9))
    probe = scripted(closed(), wf_2=Open(), wf_5=Open())  # the third to be written is 4

    report = await reconcile(store, probe, max_changes=3, batch_size=batch_size, dry_run=dry_run)

    assert report.tally.written == {"completed": 3}
    assert sorted(store.finished) == ([] if dry_run else [1, 3, 4])
    assert report.more_left
    rest = rest_of(report)
    assert rest is not None
    assert rest.until == 9
    assert rest.after in (4, 5), "before row 6, the first that is not written because of the limit"
    assert report.tally.scanned == rest.after == accounted_for(report)


@pytest.mark.parametrize("dry_run", [False, True])
async def test_rows_before_the_first_that_is_not_written_are_done(dry_run: bool) -> None:
    probe = scripted(Open(), wf_1=closed(), wf_4=closed(), wf_6=closed())

    report = await reconcile(MemoryStore(rows(7)), probe, max_changes=2, dry_run=dry_run)

    assert rest_of(report) == Span(5, 7)
    assert (report.tally.scanned, report.tally.left) == (5, {"open": 3})


@pytest.mark.parametrize("dry_run", [False, True])
async def test_the_next_page_is_not_asked_about_once_the_limit_can_be_reached(
    dry_run: bool,
) -> None:
    probe = scripted(closed())

    await reconcile(MemoryStore(rows(6)), probe, max_changes=2, batch_size=2, dry_run=dry_run)

    assert sorted(probe.asked) == ["wf-1", "wf-2"]


async def test_what_was_not_written_does_not_count_towards_the_limit() -> None:
    store = MemoryStore(rows(6))
    store.refused = {1: "trigger says no"}

    def finished_by_someone_else(asked: RunRow) -> Observation:
        del store.running[asked.id]
        return closed()

    probe = scripted(closed(), wf_2=finished_by_someone_else)
    report = await reconcile(store, probe, max_changes=2, batch_size=2)

    assert sorted(store.finished) == [3, 4]
    assert (report.tally.lost_races, report.unknown) == (1, 1)
    assert rest_of(report) == Span(4, 6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 100])
async def test_no_row_is_skipped_because_another_could_not_be_written(batch_size: int) -> None:
    store = MemoryStore(rows(5))
    store.refused = {1: "trigger says no", 3: "trigger says no"}

    report = await reconcile(store, scripted(closed()), max_changes=2, batch_size=batch_size)

    assert sorted(store.finished) == [2, 4]
    assert rest_of(report) == Span(4, 5)
    assert report.tally.scanned == accounted_for(report) == 4


@pytest.mark.parametrize("max_changes", [4, 5])
async def test_a_limit_that_is_not_exceeded_by_the_last_write_leaves_nothing(
    max_changes: int,
) -> None:
    report = await reconcile(
        MemoryStore(rows(4)), scripted(closed()), max_changes=max_changes, batch_size=2
    )

    assert (report.changed, report.more_left) == (4, False)


async def test_missing_rows_count_towards_the_limit_when_they_are_written() -> None:
    store = MemoryStore(rows(6))
    probe = scripted(Missing(), wf_1=closed(), wf_3=in_turn(Missing(), Open()))

    report = await reconcile(store, probe, FAIL, max_changes=3, batch_size=2)

    assert sorted(store.finished) == [1, 2, 4]
    assert report.more_left
    assert report.progress is not None
    assert report.progress.rest is None
    assert [(span.after, span.until) for span in report.progress.to_recheck] == [(4, 6)]
    assert "wf-6" not in probe.asked[6:], "the page after is not asked about again"
    assert report.tally.scanned == accounted_for(report) == 6


async def test_no_row_is_looked_at_again_when_the_limit_was_reached_before() -> None:
    probe = scripted(Missing(), wf_5=closed())

    report = await reconcile(MemoryStore(rows(5)), probe, FAIL, max_changes=1, batch_size=2)

    assert (report.tally.written, report.tally.left) == ({"completed": 1}, {"deleted": 4})
    assert report.more_left
    assert len(probe.asked) == 5


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("why", ["refused", "locked", "finished by somebody else"])
async def test_rows_that_cannot_be_failed_leave_room_for_those_after_them(
    why: str, batch_size: int
) -> None:
    """Of ten missing rows with a limit of five: the first two fail, so the next five are failed."""

    class Store(MemoryStore):
        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            tried.update(outcome.row.id for outcome in outcomes)
            if why == "locked":
                outcomes = [outcome for outcome in outcomes if outcome.row.id not in (1, 2)]
            return await super().finish_if_running(pass_id, outcomes)

    def second_look(asked: RunRow) -> Observation:
        if why == "finished by somebody else" and probe.asked.count(asked.workflow_id) == 2:
            del store.running[asked.id]
        return Missing()

    tried: set[RowId] = set()
    store, probe = Store(rows(10)), scripted(Missing(), wf_1=second_look, wf_2=second_look)
    store.refused = {1: "trigger says no", 2: "trigger says no"} if why == "refused" else {}

    report = await reconcile(store, probe, FAIL, max_changes=5, batch_size=batch_size)

    assert sorted(store.finished) == [3, 4, 5, 6, 7]
    assert tried == {1, 2, 3, 4, 5, 6, 7}, "each row in its turn, and none beyond the limit"
    assert (report.unknown, report.tally.lost_races) == ((2, 0) if why == "refused" else (0, 2))
    assert report.tally.left == {"deleted": 3, **({"unknown": 2} if why == "refused" else {})}
    assert (report.more_left, report.outcome) == (True, PassOutcome.UNRESOLVED)
    assert report.progress is not None
    assert [(span.after, span.until) for span in report.progress.to_recheck] == [(7, 10)]
    assert report.tally.scanned == accounted_for(report) == 10


async def test_more_is_left_only_while_there_is_more_to_fail() -> None:
    """The last five of seven, two of which were refused, are exactly the limit."""
    store = MemoryStore(rows(7))
    store.refused = {1: "trigger says no", 2: "trigger says no"}

    report = await reconcile(store, scripted(Missing()), FAIL, max_changes=5, batch_size=3)

    assert (report.changed, report.unknown, report.more_left) == (5, 2, False)


@pytest.mark.parametrize(("max_changes", "more_left"), [(4, True), (5, False), (6, False)])
async def test_a_dry_run_has_more_left_only_past_the_limit(
    max_changes: int, more_left: bool
) -> None:
    report = await reconcile(
        MemoryStore(rows(5)), scripted(Missing()), FAIL, max_changes=max_changes, dry_run=True
    )

    assert (report.changed, report.more_left) == (min(max_changes, 5), more_left)


async def test_a_dry_run_counts_no_more_missing_rows_than_the_limit() -> None:
    store = MemoryStore([*rows(4), row(5, age=timedelta(days=2))])

    report = await reconcile(
        store, scripted(Missing(), wf_1=closed()), FAIL, max_changes=3, dry_run=True
    )

    assert report.tally.written == {"completed": 1, "failed": 2}
    assert report.tally.scanned == accounted_for(report) == 5
