"""A pass that is cancelled, by a signal or by its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from reconciler.core.errors import ConfigurationError, DatabaseUnusable
from reconciler.core.model import LeaveReason, Missing, Observation, Outcome, RowId, RunRow
from reconciler.core.observer import PassView
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.progress import Progress, Span
from reconciler.passes import lifecycle as recorded
from tests.support.factories import closed
from tests.support.fakes import MemoryStore, Recorder, ScriptedProbe
from tests.support.passes.bench import FAIL, Slow, reconcile, rows, scripted
from tests.support.polling import deadline, eventually


@pytest.mark.parametrize("batch_size", [2, 3, 100])
async def test_what_has_been_decided_is_written(batch_size: int) -> None:
    store, probe = MemoryStore(rows(9)), Slow(5, closed())
    before = asyncio.all_tasks()
    task = asyncio.create_task(reconcile(store, probe, batch_size=batch_size))
    await probe.hanging.wait()
    task.cancel()
    report = await task

    assert len(store.finished) == report.changed == report.tally.scanned == 5
    assert (report.outcome, report.stopped) == (PassOutcome.ABORTED, True)
    assert report.error == "stopped before its end"
    assert task.cancelling() == 0
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("steps", range(1, 80))
async def test_at_any_step_of_the_event_loop_too(steps: int) -> None:
    class Counting(ScriptedProbe):
        answered = 0

        async def observe(self, asked_row: RunRow) -> Observation:
            found = await super().observe(asked_row)
            self.answered += 1
            return found

    store, probe = MemoryStore(rows(6)), Counting({}, closed())
    task = asyncio.create_task(reconcile(store, probe, batch_size=2, concurrency=2))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    report = await task

    assert len(store.finished) == report.changed == report.tally.scanned == probe.answered


async def test_the_observer_is_notified() -> None:
    probe, recorder = Slow(0, closed()), Recorder()
    task = asyncio.create_task(reconcile(MemoryStore(rows(1)), probe, observers=[recorder]))
    await probe.hanging.wait()
    task.cancel()

    assert recorder.ended == [await task]


async def test_while_its_beginning_is_recorded_that_is_completed_and_nothing_is_asked() -> None:
    class Slowly(Recorder):
        starting, may_go_on = asyncio.Event(), asyncio.Event()

        async def on_start(self, report: PassView) -> None:
            self.starting.set()
            await self.may_go_on.wait()
            await super().on_start(report)

    probe, slowly, recorder = scripted(closed()), Slowly(), Recorder()
    task = asyncio.create_task(reconcile(MemoryStore(rows(1)), probe, observers=[slowly, recorder]))
    await slowly.starting.wait()
    task.cancel()
    slowly.may_go_on.set()
    report = await task

    assert report.stopped
    assert probe.asked == []
    assert task.cancelling() == 0
    for each in (slowly, recorder):
        assert (each.started, each.ended) == ([report], [report])


async def test_during_a_write_the_write_is_finished() -> None:
    class Store(MemoryStore):
        writing, may_end = asyncio.Event(), asyncio.Event()

        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            self.writing.set()
            await self.may_end.wait()
            return await super().finish_if_running(pass_id, outcomes)

    store = Store(rows(4))
    task = asyncio.create_task(reconcile(store, scripted(closed()), batch_size=2))
    await store.writing.wait()
    for _ in range(5):  # let it run until it waits for the write
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    store.may_end.set()
    report = await task

    assert report.stopped
    assert len(store.finished) == report.changed == 4


@pytest.mark.parametrize(
    ("answers", "written"),
    [
        pytest.param(5, 0, id="before they are asked about again"),
        pytest.param(9 + 4, 4, id="while they are"),
    ],
)
async def test_only_missing_rows_that_were_asked_about_twice_are_failed(
    answers: int, written: int
) -> None:
    store, probe = MemoryStore(rows(9)), Slow(answers, Missing())
    task = asyncio.create_task(reconcile(store, probe, FAIL, batch_size=2))
    await probe.hanging.wait()
    task.cancel()
    report = await task

    assert len(store.finished) == report.changed == written
    assert report.tally.left == {LeaveReason.DELETED: 5}


async def test_while_a_page_is_being_read_the_rest_is_for_the_next_one() -> None:
    class Store(MemoryStore):
        reading = asyncio.Event()

        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after == 2:
                self.reading.set()
                await asyncio.Event().wait()
            return await super().scan_running(after, until, limit)

    store = Store(rows(4))
    task = asyncio.create_task(reconcile(store, scripted(closed()), batch_size=2))
    await store.reading.wait()
    await eventually(has_written(store, 2))
    task.cancel()
    report = await task

    assert report.changed == 2
    assert report.progress == Progress(Span(2, 4))


def has_written(store: MemoryStore, count: int) -> Callable[[], Awaitable[bool]]:
    async def written() -> bool:
        return len(store.finished) == count

    return written


async def test_while_its_end_is_being_recorded_that_is_finished_first() -> None:
    class Slow(Recorder):
        recording, may_end = asyncio.Event(), asyncio.Event()

        async def on_pass(self, report: PassView) -> None:
            self.recording.set()
            await self.may_end.wait()
            await super().on_pass(report)

    slow = Slow()
    task = asyncio.create_task(reconcile(MemoryStore(), ScriptedProbe({}), observers=[slow]))
    await slow.recording.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    slow.may_end.set()
    report = await task

    assert slow.ended == [report]
    assert (report.stopped, report.outcome) == (False, PassOutcome.OK), "there was nothing to stop"
    assert task.cancelling() == 0


async def test_a_second_time_the_write_is_given_up_and_the_end_recorded() -> None:
    class Store(MemoryStore):
        writing = asyncio.Event()

        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            self.writing.set()
            await asyncio.Event().wait()
            raise AssertionError

    store, recorder = Store(rows(1)), Recorder()
    before = asyncio.all_tasks()
    task = asyncio.create_task(reconcile(store, scripted(closed()), observers=[recorder]))
    await store.writing.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    report = await task

    assert (report.stopped, report.changed) == (True, 0)
    assert recorder.ended == [report]
    assert task.cancelling() == 0
    assert asyncio.all_tasks() == before


async def test_a_silent_database_does_not_delay_a_second_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(Recorder):
        recording = asyncio.Event()

        async def on_pass(self, report: PassView) -> None:
            self.recording.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(recorded, "GIVE_UP", 0.01)
    silent, before = Silent(), asyncio.all_tasks()
    task = asyncio.create_task(
        reconcile(MemoryStore(rows(1)), scripted(closed()), observers=[silent])
    )
    await silent.recording.wait()
    task.cancel()
    report = await task

    assert report.changed == 1
    assert asyncio.all_tasks() == before


async def test_a_second_time_the_write_is_given_up_also_if_it_was_reading_at_the_first() -> None:
    class Store(MemoryStore):
        reading, writing = asyncio.Event(), asyncio.Event()

        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after is not None:
                self.reading.set()
                await asyncio.Event().wait()
            return await super().scan_running(after, until, limit)

        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            self.writing.set()
            await asyncio.Event().wait()
            raise AssertionError

    store = Store(rows(4))
    task = asyncio.create_task(reconcile(store, scripted(closed()), batch_size=2))
    await asyncio.gather(store.reading.wait(), store.writing.wait())
    task.cancel()
    for _ in range(5):  # let it run until it waits for the write
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    async with deadline():
        report = await task

    assert (report.stopped, report.changed) == (True, 0)


async def test_before_its_first_page_it_is_stopped_too() -> None:
    class Probe(ScriptedProbe):
        asked_for = asyncio.Event()

        async def retention(self) -> timedelta:
            self.asked_for.set()
            await asyncio.Event().wait()
            raise AssertionError

    probe, recorder = Probe({}), Recorder()
    task = asyncio.create_task(reconcile(MemoryStore(rows(1)), probe, observers=[recorder]))
    await probe.asked_for.wait()
    task.cancel()
    report = await task

    assert (report.stopped, report.tally.scanned) == (True, 0)
    assert recorder.ended == [report]


async def test_a_bug_in_the_middle_is_recorded_and_raised() -> None:
    class Buggy(Recorder):
        async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
            raise ZeroDivisionError

    recorder, before = Recorder(), asyncio.all_tasks()
    pass_ = reconcile(MemoryStore(rows(4)), scripted(closed()), observers=[recorder, Buggy()])
    with pytest.raises(ZeroDivisionError):
        await pass_

    (report,) = recorder.ended
    assert (report.outcome, report.tally.written.total()) == (PassOutcome.ABORTED, 4)
    assert report.error == "internal error: ZeroDivisionError()"
    assert asyncio.all_tasks() == before


async def test_a_setting_found_wrong_during_the_pass_ends_it_with_a_report() -> None:
    class Probe(ScriptedProbe):
        async def retention(self) -> timedelta:
            raise ConfigurationError("TEMPORAL_API_KEY_FILE is gone")

    recorder = Recorder()
    report = await reconcile(MemoryStore(rows(1)), Probe({}), observers=[recorder])

    assert report.error == "TEMPORAL_API_KEY_FILE is gone"
    assert recorder.ended == [report]


async def test_a_database_that_fails_at_the_beginning_is_in_the_report() -> None:
    class Failing(Recorder):
        async def on_start(self, report: PassView) -> None:
            raise DatabaseUnusable("unreachable")

    probe, failing = scripted(closed()), Failing()
    report = await reconcile(MemoryStore(rows(1)), probe, observers=[failing])

    assert (report.outcome, report.error) == (PassOutcome.ABORTED, "unreachable")
    assert probe.asked == []
    assert failing.ended == [report]
