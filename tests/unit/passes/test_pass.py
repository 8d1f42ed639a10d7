"""What a pass does with each row, what it counts, and what observers get."""

from __future__ import annotations

from datetime import timedelta

from reconciler.core.model import Closed, Missing, Observation, Open, RunRow, Unknown
from reconciler.core.report.pass_report import PassOutcome
from tests.support.factories import closed, policy
from tests.support.fakes import MemoryStore, Recorder, ScriptedProbe
from tests.support.passes.bench import reconcile, rows, scripted


async def test_every_verdict_is_counted_and_acted_on() -> None:
    store = MemoryStore(rows(4))
    probe = scripted(Missing(), wf_1=closed(), wf_2=Open(), wf_3=Unknown("busy"))

    report = await reconcile(store, probe)

    assert report.tally.scanned == 4
    assert report.tally.written == {"completed": 1}
    assert report.tally.left == {"open": 1, "unknown": 1, "deleted": 1}
    assert list(store.finished) == [1]


async def test_counts_what_the_write_returned() -> None:
    store = MemoryStore(rows(2))

    def finished_by_someone_else(asked: RunRow) -> Observation:
        del store.running[asked.id]
        return closed()

    report = await reconcile(store, scripted(closed(), wf_1=finished_by_someone_else))

    assert report.tally.written == {"completed": 1}
    assert report.tally.lost_races == 1
    assert 1 not in store.finished


async def test_a_row_the_database_refuses_is_unknown_and_harms_no_other() -> None:
    store = MemoryStore(rows(3))
    store.refused = {2: "trigger says no"}

    report = await reconcile(store, scripted(closed()))

    assert report.tally.written == {"completed": 2}
    assert report.unknown == 1
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_one_rows_bug_does_not_end_the_pass() -> None:
    store = MemoryStore(rows(3))

    report = await reconcile(store, scripted(closed(), wf_2=ValueError("bug")))

    assert sorted(store.finished) == [1, 3]
    assert report.unknown == 1
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_a_dry_run_writes_nothing_and_counts_what_it_would() -> None:
    store = MemoryStore(rows(3))

    report = await reconcile(store, scripted(closed()), dry_run=True)

    assert report.tally.written == {"completed": 3}
    assert not store.finished


async def test_observers_are_notified_of_the_start_before_any_write_and_of_the_end_after_it() -> (
    None
):
    store, recorder = MemoryStore(rows(1)), Recorder()

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            assert recorder.started
            assert not recorder.ended
            return closed()

    report = await reconcile(store, Probe({}), observers=[recorder])

    assert recorder.started == recorder.ended == [report]


async def test_observers_are_notified_of_what_was_really_written() -> None:
    store, recorder = MemoryStore(rows(3)), Recorder()
    store.refused = {2: "trigger says no"}

    def finished_by_someone_else(asked: RunRow) -> Observation:
        del store.running[asked.id]
        return closed()

    probe = scripted(closed(), wf_3=finished_by_someone_else)
    await reconcile(store, probe, observers=[recorder])
    dry = Recorder()
    again = MemoryStore(rows(1))
    await reconcile(again, scripted(closed()), observers=[dry], dry_run=True)

    assert [outcome.row.id for outcome in recorder.written] == [1]
    assert dry.written == []


async def test_the_retention_is_asked_for_in_each_pass() -> None:
    class Probe(ScriptedProbe):
        async def retention(self) -> timedelta:
            return timedelta(minutes=1)

    report = await reconcile(MemoryStore(rows(1)), Probe({}), policy())

    assert report.tally.left == {"expired": 1}, "an hour old"


async def test_rpcs_are_those_of_this_pass() -> None:
    store, probe = MemoryStore(rows(3)), scripted(Open())

    await reconcile(store, probe)
    second = await reconcile(store, probe)

    assert second.rpcs == {"describe": 3}


async def test_a_closed_workflow_is_written_with_temporals_own_close_time() -> None:
    store, end = MemoryStore(rows(1)), closed()
    assert isinstance(end, Closed)

    await reconcile(store, scripted(end))

    written = store.finished[1]
    assert written.completed_at == end.close_time
    assert written.final_run_id == end.run_id
