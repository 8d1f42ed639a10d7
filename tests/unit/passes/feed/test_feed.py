"""What the feed lists, looks up and reconciles, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest

from reconciler.core.errors import DatabaseUnusable, FeedOff, TemporalUnusable, Unusable
from reconciler.core.feed.closing import Closing, Listed, Listing
from reconciler.core.feed.saved_marks import SavedMarks
from reconciler.core.model import CloseStatus, LeaveReason, RunRow
from reconciler.core.observer import Observer
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from tests.support.factories import NOW, row
from tests.support.passes.feeding import GRACE, FeedBench, left


@pytest.fixture
def bench() -> FeedBench:
    return FeedBench()


async def test_a_quiet_poll_lists_each_status_and_looks_nothing_up(bench: FeedBench) -> None:
    await bench.warm()
    bench.closings.asked.clear()

    await bench.poll()

    assert sorted(bench.closings.asked) == [("default", each) for each in sorted(CloseStatus)]
    assert bench.outside.looked_up == []


@pytest.mark.parametrize("status", CloseStatus)
async def test_a_closed_workflow_is_reconciled_once(bench: FeedBench, status: CloseStatus) -> None:
    await bench.warm()
    bench.outside.rows = [row(1), row(2)]
    bench.close("wf-1", status)

    await bench.poll()
    await bench.poll()

    assert bench.outside.looked_up == [["wf-1"]]
    assert [[each.id for each in rows] for rows in bench.outside.reconciled] == [[1]]


async def test_what_closes_before_the_whole_pass_ends_is_found_by_one_of_both(
    bench: FeedBench,
) -> None:
    bench.close("before the marks")
    await bench.poll()
    assert bench.feed.awaits_pass
    assert not bench.feed.covers_every_row
    bench.outside.rows = [row(1)]
    bench.now += timedelta(seconds=1)
    bench.close("wf-1")

    await bench.poll()

    assert len(bench.outside.reconciled) == 1
    await bench.whole_pass()
    assert bench.feed.covers_every_row
    assert not bench.feed.awaits_pass


@pytest.mark.parametrize("error", [None, "away"])
async def test_marks_are_saved_only_once_every_row_was_looked_at(
    bench: FeedBench, error: str | None
) -> None:
    bench.close("wf-1")
    await bench.poll()
    bench.now += timedelta(seconds=1)

    await bench.whole_pass(error=error)

    assert bool(bench.marks.saved) is (error is None)


async def test_a_pass_that_began_before_the_marks_were_taken_is_not_enough(
    bench: FeedBench,
) -> None:
    await bench.whole_pass()
    await bench.poll()

    assert bench.feed.awaits_pass
    assert not bench.feed.covers_every_row


async def test_a_restart_continues_from_the_saved_marks(bench: FeedBench) -> None:
    bench.close("wf-0")
    await bench.warm()
    bench.outside.rows = [row(1)]
    bench.now += timedelta(minutes=2)
    bench.close("wf-1")
    bench.restarted()

    await bench.poll()

    assert bench.feed.covers_every_row
    assert [[each.id for each in rows] for rows in bench.outside.reconciled] == [[1]]


async def test_old_marks_are_not_followed(bench: FeedBench) -> None:
    saved_at = NOW - timedelta(hours=1, seconds=1)
    bench.marks.saved["id of default"] = SavedMarks(
        {CloseStatus.FAILED: saved_at}, saved_at, read_at=NOW
    )

    await bench.poll()

    assert not bench.feed.covers_every_row
    assert bench.feed.awaits_pass


async def test_marks_stay_below_a_row_that_waits(bench: FeedBench) -> None:
    bench.close("wf-0")
    await bench.warm()
    bench.outside.rows = [young := row(1, age=timedelta(seconds=10))]
    bench.outside.verdicts[1] = left(young, LeaveReason.TOO_YOUNG)
    bench.close("wf-1")
    closed_at = bench.now
    await bench.poll()
    bench.close("wf-9")
    await bench.poll(20)

    await bench.feed.save()

    assert bench.marks.saved["id of default"].marks[CloseStatus.TERMINATED] == closed_at
    bench.outside.verdicts.clear()
    await bench.poll(60)
    assert bench.outside.rows == []


@pytest.mark.parametrize(
    "too_young",
    [
        pytest.param(row(1, run_id=None, age=timedelta(seconds=10)), id="its run id may follow"),
        pytest.param(row(1, updated_at=NOW - timedelta(seconds=10)), id="just touched"),
    ],
)
async def test_temporal_is_not_asked_about_a_row_that_is_too_young_in_any_case(
    bench: FeedBench, too_young: RunRow
) -> None:
    await bench.warm()
    bench.outside.rows = [too_young]
    bench.close("wf-1")
    await bench.poll()
    assert bench.outside.reconciled == []

    await bench.poll(60)

    assert bench.outside.rows == []


async def test_rows_of_an_aborted_pass_stay_due(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.rows, bench.outside.error = [row(1)], "unreachable"
    bench.close("wf-1")
    with pytest.raises(Unusable, match="unreachable"):
        await bench.poll()
    bench.outside.error = None

    await bench.poll()

    assert bench.outside.rows == []


async def test_rows_that_could_not_be_looked_up_stay_due(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.rows, bench.outside.unreadable = [row(1)], DatabaseUnusable("unreachable")
    bench.close("wf-1")
    with pytest.raises(DatabaseUnusable, match="unreachable"):
        await bench.poll()
    bench.outside.unreadable = None

    await bench.poll()

    assert bench.outside.rows == []


async def test_a_poll_that_is_stopped_ends(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.rows, bench.outside.stops = [row(1)], True
    bench.close("wf-1")

    with pytest.raises(asyncio.CancelledError):
        await bench.poll()


async def test_rows_are_reconciled_before_the_last_list_is_there(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.rows = [row(1)]
    bench.close("wf-1", CloseStatus.TERMINATED)
    slow = bench.closings.hangs[CloseStatus.COMPLETED] = asyncio.Event()
    polling = asyncio.create_task(bench.poll())

    async with asyncio.timeout(5):
        while bench.outside.rows:
            await asyncio.sleep(0)

    assert not polling.done()
    slow.set()
    await polling


async def test_what_the_last_list_shows_during_a_pass_is_reconciled_by_the_same_poll(
    bench: FeedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.warm()
    bench.outside.rows = [row(1), row(2)]
    bench.close("wf-1", CloseStatus.TERMINATED)
    bench.close("wf-2", CloseStatus.COMPLETED)
    slow = bench.closings.hangs[CloseStatus.COMPLETED] = asyncio.Event()
    reconcile = bench.outside.reconcile

    async def long_pass(rows: Sequence[RunRow], observer: Observer) -> PassReport:
        slow.set()
        for _ in range(10):
            await asyncio.sleep(0)
        return await reconcile(rows, observer)

    monkeypatch.setattr(bench.outside, "reconcile", long_pass)

    await bench.poll()

    assert bench.outside.rows == []


async def test_a_namespace_that_refuses_is_off_for_an_hour(bench: FeedBench) -> None:
    await bench.warm()
    bench.closings.errors["default"] = FeedOff("not sorted")

    await bench.poll()
    asked = len(bench.closings.asked)
    await bench.poll(60)

    assert len(bench.closings.asked) == asked
    assert not bench.feed.covers_every_row
    assert bench.feed.namespaces[0].why_off == "not sorted"
    bench.closings.errors.clear()
    await bench.poll(3600)
    await bench.whole_pass()
    assert bench.feed.covers_every_row
    assert bench.feed.namespaces[0].why_off is None


async def test_a_poll_fails_if_no_namespace_answers(bench: FeedBench) -> None:
    await bench.warm()
    bench.closings.errors["default"] = TemporalUnusable("no answer")
    bench.outside.rows = [row(1)]
    bench.close("wf-1")

    with pytest.raises(Unusable, match="no answer"):
        await bench.poll()

    bench.closings.errors.clear()
    await bench.poll(60)
    assert bench.outside.rows == []
    assert bench.feed.covers_every_row


async def test_a_namespace_that_does_not_answer_leaves_the_others_alone(bench: FeedBench) -> None:
    await bench.warm()
    other = row(1, namespace="other")
    await bench.whole_pass(left(other, LeaveReason.OPEN))
    await bench.poll()
    await bench.whole_pass(left(other, LeaveReason.OPEN))
    bench.closings.errors["default"] = TemporalUnusable("no answer")
    bench.outside.rows = [other, row(1)]
    bench.close("wf-1", namespace="other")

    with pytest.raises(Unusable, match="no answer"):
        await bench.poll()

    assert bench.outside.rows == [row(1)]


async def test_rows_are_of_the_namespace_that_they_name(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.rows = [row(1, namespace="other")]
    bench.close("wf-1", namespace="default")

    await bench.poll()

    assert bench.outside.reconciled == []


async def test_a_namespace_that_cannot_be_used_is_left_alone_for_a_while(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.unknown_namespaces.add("typo")
    for _ in range(10):
        await bench.whole_pass(left(row(1, namespace="typo"), LeaveReason.UNKNOWN))
        await bench.poll(60)

    assert bench.outside.described.count("typo") == 2, "for two minutes"
    assert bench.feed.covers_every_row


async def test_a_namespace_that_cannot_be_used_for_a_moment_is_followed_from_its_marks(
    bench: FeedBench,
) -> None:
    bench.outside.newest = {"other"}
    await bench.warm()
    bench.close("wf-0", namespace="other")
    await bench.poll()
    bench.now += timedelta(seconds=1)
    await bench.whole_pass()
    bench.outside.unknown_namespaces, bench.outside.newest = {"other"}, set()
    bench.outside.rows = [row(1, namespace="other")]
    bench.close("wf-1", namespace="other")
    await bench.poll()
    await bench.poll(55)
    bench.outside.unknown_namespaces = set()

    await bench.poll()

    assert bench.outside.rows == []
    assert bench.feed.covers_every_row


async def test_the_newest_rows_show_a_new_namespace(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.newest.add("new")
    await bench.whole_pass()

    await bench.poll()

    assert [each.name for each in bench.feed.namespaces] == ["default", "new"]


async def test_a_restart_follows_the_same_namespaces(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.newest.add("other")
    bench.close("wf-0", namespace="other")
    await bench.whole_pass()
    await bench.poll()
    await bench.whole_pass()
    bench.outside.newest.clear()
    bench.outside.rows = [row(1, namespace="other")]
    bench.now += timedelta(minutes=1)
    bench.close("wf-1", namespace="other")
    bench.restarted()

    await bench.poll()

    assert bench.outside.rows == []


async def test_a_namespace_that_is_deleted_is_no_longer_followed(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.newest.add("other")
    await bench.whole_pass()
    await bench.poll()
    await bench.whole_pass()
    bench.outside.unknown_namespaces.add("other")

    await bench.poll()

    assert [each.name for each in bench.feed.namespaces] == ["default"]
    assert bench.feed.covers_every_row


async def test_a_namespace_that_was_created_again_is_followed_from_its_beginning(
    bench: FeedBench,
) -> None:
    bench.close("wf-0")
    await bench.warm()
    bench.outside.ids["default"] = "another id"

    await bench.poll()

    assert not bench.feed.covers_every_row
    await bench.whole_pass()
    assert "another id" in bench.marks.saved


async def test_too_many_closings_need_a_pass_over_every_row(bench: FeedBench) -> None:
    bench.close("wf-0")
    await bench.warm()
    for number in range(20_001):
        bench.close(f"wf-{number}")
        bench.now += timedelta(milliseconds=1)

    await bench.poll()

    assert bench.feed.namespaces[0].fell_behind == 1
    assert not bench.feed.covers_every_row
    await bench.poll()
    assert bench.feed.awaits_pass
    await bench.whole_pass()
    assert bench.feed.covers_every_row


async def test_a_cancellation_that_a_pass_absorbs_at_its_end_still_ends_the_poll(
    bench: FeedBench,
) -> None:
    await bench.warm()
    bench.outside.rows = [row(1)]
    bench.close("wf-1")
    bench.feed.is_stopping = True

    with pytest.raises(asyncio.CancelledError):
        await bench.poll()

    assert bench.outside.rows == []


async def test_a_bug_that_a_row_leads_to_holds_up_neither_the_others_nor_the_marks(
    bench: FeedBench,
) -> None:
    bench.close("wf-0")
    await bench.warm()
    bench.outside.rows, bench.outside.bug = [row(1)], ZeroDivisionError()
    bench.close("wf-1")
    with pytest.raises(ZeroDivisionError):
        await bench.poll()
    bench.outside.rows, bench.outside.bug = [row(1), row(2)], None
    bench.close("wf-2")

    await bench.poll(1)

    assert bench.outside.rows == [row(1)]
    for _ in range(15):
        bench.outside.bug = ZeroDivisionError()
        with contextlib.suppress(ZeroDivisionError):
            await bench.poll(60)
    assert bench.feed.namespaces[0].book is not None
    assert bench.feed.namespaces[0].book.pending == 0


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_database_clock_that_is_set_changes_nothing(
    bench: FeedBench, ahead: timedelta
) -> None:
    await bench.warm()
    bench.outside.clock = lambda: bench.now + ahead
    bench.outside.rows = [replace(row(1), created_at=NOW, updated_at=bench.now + ahead)]
    bench.close("wf-1")
    await bench.poll(10)
    assert bench.outside.reconciled == []

    await bench.poll(GRACE.total_seconds())

    assert bench.outside.rows == []


async def test_a_pass_over_a_stretch_does_not_make_up_for_a_gap(bench: FeedBench) -> None:
    await bench.poll()
    bench.now += timedelta(seconds=1)

    await bench.feed.on_start(PassReport.begin(PassRequest("run", found_by="sweep"), bench.now))

    assert bench.feed.awaits_pass


@pytest.mark.parametrize("failing", ["describe", "look_up"])
async def test_a_poll_that_ends_early_counts_as_an_outage(bench: FeedBench, failing: str) -> None:
    """So that what visibility shows late after it is found."""
    bench.close("wf-0")
    await bench.warm()
    bench.close("wf-1")
    setattr(bench.outside, failing, AsyncMock(side_effect=DatabaseUnusable("away")))
    with pytest.raises(Unusable, match="away"):
        await bench.poll(1800)
    delattr(bench.outside, failing)
    bench.close("wf-3")
    await bench.poll(1)
    bench.outside.rows = [row(2)]
    missed = Closing("wf-2", "run", bench.now - timedelta(minutes=25))
    bench.closings.closed["default", CloseStatus.TERMINATED].append(missed)

    await bench.poll(31)

    assert bench.outside.rows == []


async def test_rows_whose_time_has_come_do_not_wait_for_visibility(bench: FeedBench) -> None:
    await bench.warm()
    bench.outside.rows = [replace(row(1), updated_at=bench.now)]
    bench.close("wf-1")
    await bench.poll()
    bench.closings.errors["default"] = TemporalUnusable("no answer")
    for after in (1, GRACE.total_seconds() - 7):
        with pytest.raises(Unusable, match="no answer"):
            await bench.poll(after)

    await bench.poll(3)

    assert bench.outside.rows == []


async def test_a_list_that_fails_does_not_keep_the_others_from_being_taken(
    bench: FeedBench,
) -> None:
    await bench.warm()
    bench.outside.rows = [row(1)]
    bench.close("wf-1", CloseStatus.TERMINATED)
    slow = bench.closings.hangs[CloseStatus.TERMINATED] = asyncio.Event()
    read = bench.closings.read

    async def fail_first(namespace: str, status: CloseStatus, asked: Listing) -> Listed:
        if status is CloseStatus.FAILED:
            raise TemporalUnusable("no answer")
        return await read(namespace, status, asked)

    bench.closings.read = fail_first  # type: ignore[method-assign]
    polling = asyncio.create_task(bench.poll())
    for _ in range(20):
        await asyncio.sleep(0)
    slow.set()
    with pytest.raises(Unusable, match="no answer"):
        await polling

    assert bench.outside.rows == []
