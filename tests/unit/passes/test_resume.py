"""A pass that resumes what another process has begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from reconciler.core.model import Finish, LeaveReason, Missing, Open, RowId
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from tests.support.factories import NOW, closed, finish, row
from tests.support.fakes import MemoryStore, Recorder
from tests.support.passes.bench import FAIL, accounted_for, reconcile, rows, scripted


def begun(progress: Progress, done: Tally | None = None, **others: Any) -> PassReport:
    begun_at = NOW - timedelta(minutes=5)
    request = PassRequest("backfill", asked={})
    done = done or Tally()
    return PassReport("p-1", request, begun_at, progress=progress, done=done, **others)


def missing(*ids: RowId) -> list[Finish]:
    return [finish(row(id_), missing=LeaveReason.DELETED, status="failed") for id_ in ids]


def span(after: RowId | None, until: RowId, failing: Sequence[Finish]) -> Span:
    """A span in which only these rows were left."""
    tally = Tally(scanned=len(failing))
    tally.add_set_aside(failing)
    made = Span(after, until, tally)
    made.add_failing(failing)
    return made


async def test_it_resumes_exactly_where_the_other_ended() -> None:
    store, probe = MemoryStore(rows(9)), scripted(closed())

    report = await reconcile(store, probe, report=begun(Progress(Span(3, 6))), batch_size=2)

    assert sorted(store.finished) == [4, 5, 6]
    assert sorted(probe.asked) == ["wf-4", "wf-5", "wf-6"]
    assert not report.more_left


async def test_nothing_is_looked_at_if_nothing_is_left() -> None:
    store, probe = MemoryStore(rows(9)), scripted(closed())

    report = await reconcile(store, probe, report=begun(Progress()))

    assert (store.pages, probe.asked, report.tally.scanned) == (0, [], 0)


async def test_its_counts_are_those_of_both() -> None:
    done = Tally(
        scanned=3,
        written=Counter(completed=1),
        left=Counter({LeaveReason.OPEN: 1}),
        lost_races=1,
    )
    before = begun(
        Progress(Span(3, 6)),
        done,
        rpcs=Counter(describe=3, history=2),
        duration_seconds=40.0,
    )

    probe = scripted(closed(), wf_6=Open())
    report = await reconcile(MemoryStore(rows(9)), probe, report=before)

    assert report is before
    assert report.pass_id == "p-1"
    assert report.tally.scanned == accounted_for(report) == 6
    assert (report.tally.written, report.tally.left) == ({"completed": 3}, {"open": 2})
    assert report.rpcs == {"describe": 6, "history": 2}
    assert 40 < report.duration_seconds < 50


async def test_its_calls_are_those_of_both_without_earlier_ones_of_this_process() -> None:
    probe = scripted(Open())
    await reconcile(MemoryStore(rows(4)), probe)
    before = begun(Progress(Span(3, 6)), rpcs=Counter(describe=1))

    report = await reconcile(MemoryStore(rows(6)), probe, report=before)

    assert report.rpcs == {"describe": 1 + 3}


async def test_the_limit_of_changes_counts_this_process_only() -> None:
    store, done = MemoryStore(rows(9)), Tally(written=Counter(completed=3))
    before = begun(Progress(Span(3, 9)), done)

    report = await reconcile(store, scripted(closed()), report=before, max_changes=2)

    assert sorted(store.finished) == [4, 5]
    assert (report.changed, report.more_left) == (5, True)


async def test_the_breaker_counts_what_was_scanned_before() -> None:
    before = begun(Progress(Span(18, 20), [span(None, 18, missing(*range(1, 19)))]))
    store = MemoryStore(rows(20))

    report = await reconcile(store, scripted(Missing()), FAIL, report=before)

    assert (report.held_back, report.tally.left, store.finished) == (20, {"deleted": 20}, {})


async def test_the_second_look_resumes_where_it_ended() -> None:
    first = span(None, 6, missing(1, 2, 3, 4, 5, 6))
    first.after, first.second.written["failed"] = 2, 2
    done = Tally(scanned=2, left=Counter({LeaveReason.OPEN: 2}))
    before = begun(Progress(None, [first, span(8, 9, missing(9))]), done)
    store = MemoryStore(rows(9)[2:])  # the first two have been failed
    del store.running[3]  # and somebody else has finished the third
    probe = scripted(Missing(), wf_4=Open())

    report = await reconcile(store, probe, FAIL, report=before, batch_size=2)

    assert sorted(probe.asked) == ["wf-4", "wf-5", "wf-6", "wf-9"]
    assert sorted(store.finished) == [5, 6, 9]
    assert (report.tally.written, report.tally.left, report.tally.lost_races) == (
        {"failed": 5},
        {"open": 3},
        1,
    )
    assert report.tally.scanned == accounted_for(report) == 9
    assert not report.more_left


async def test_rows_that_were_written_and_not_recorded_count_as_scanned() -> None:
    done = Tally(scanned=1, left=Counter({LeaveReason.OPEN: 1}))
    before = begun(Progress(Span(2, 9), [span(None, 2, missing(1))]), done)
    before.correct({"completed": 2})
    store = MemoryStore(row for row in rows(9) if row.id not in (3, 4))

    report = await reconcile(store, scripted(Open()), FAIL, report=before, limit=3)

    assert report.tally.scanned == accounted_for(report) == 2 + 2 + 3
    assert report.tally.left == {"deleted": 1, "open": 4}


async def test_rows_that_were_written_at_the_second_look_and_not_recorded_are_no_lost_races() -> (
    None
):
    progress = Progress(None, [span(None, 4, missing(1, 2, 3, 4))], rechecking=True)
    before = begun(progress)
    before.correct({"failed": 2})
    store = MemoryStore(rows(4)[2:])

    report = await reconcile(store, scripted(Missing()), FAIL, report=before)

    assert report.tally.written == {"failed": 4}
    assert (report.tally.lost_races, report.tally.scanned) == (0, 4)


async def test_observers_are_notified_of_its_start() -> None:
    recorder, before = Recorder(), begun(Progress(Span(3, 6)))

    await reconcile(MemoryStore(rows(6)), scripted(Open()), observers=[recorder], report=before)

    assert recorder.started == recorder.ended == [before]
