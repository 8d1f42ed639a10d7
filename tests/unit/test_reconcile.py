"""The pass over fakes: each of these fails for one bug that such loops have had elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.core.model import (
    Closed,
    CloseStatus,
    Leave,
    LeaveReason,
    Missing,
    Observation,
    Open,
    Outcome,
    RowId,
    RunRow,
    Unknown,
)
from reconciler.core.report import PassOutcome, PassReport
from reconciler.core.verdict import MissingPolicy, Policy
from reconciler.errors import DatabaseUnusable, TemporalUnusable
from reconciler.pass_log import PassLog
from reconciler.ports import Written
from reconciler.reconcile import PassOptions, run_pass
from tests.factories import NOW, closed, policy, row
from tests.fakes import Answer, MemoryStore, Recorder, ScriptedProbe


def rows(count: int) -> list[RunRow]:
    return [row(number) for number in range(1, count + 1)]


async def reconcile(
    store: MemoryStore,
    probe: ScriptedProbe,
    rules: Policy | None = None,
    **options: int | bool,
) -> PassReport:
    return await run_pass(
        store,
        probe,
        [Recorder()],
        rules or policy(),
        PassOptions(**options),  # type: ignore[arg-type]
        NOW,
    )


def scripted(default: Observation, **answers: Answer) -> ScriptedProbe:
    named = {name.replace("_", "-"): answer for name, answer in answers.items()}
    return ScriptedProbe(named, default)


async def test_every_verdict_ends_where_it_belongs() -> None:
    store = MemoryStore(rows(4))
    probe = scripted(Missing(), wf_1=closed(), wf_2=Open(), wf_3=Unknown("busy"))

    report = await reconcile(store, probe)

    assert report.scanned == 4
    assert report.written == {"completed": 1}
    assert report.left == {"open": 1, "unknown": 1, "never_started": 1}
    assert list(store.finished) == [1]


@pytest.mark.parametrize("observation", [Open(), Unknown("busy"), Missing(), closed()], ids=repr)
async def test_the_cursor_moves_whatever_the_verdict(observation: Observation) -> None:
    store = MemoryStore(rows(7))
    probe = scripted(observation, wf_7=closed())

    async with asyncio.timeout(5):
        report = await reconcile(store, probe, batch_size=2)

    assert report.scanned == 7
    assert sorted(probe.asked) == [f"wf-{number}" for number in range(1, 8)]
    assert 7 in store.finished, "a page of rows that are left must not strand those after it"


async def test_the_batch_size_bounds_a_page() -> None:
    store = MemoryStore(rows(5))

    await reconcile(store, scripted(Open()), batch_size=2)

    assert store.pages == 4, "2 + 2 + 1, and the empty page that ends it"


async def test_rows_inserted_during_the_pass_wait_for_the_next_one() -> None:
    store = MemoryStore(rows(2))

    def insert_another(asked: RunRow) -> Observation:
        number = max(int(str(i)) for i in store.running) + 1
        store.running[number] = row(number)
        return Open()

    async with asyncio.timeout(5):
        report = await reconcile(
            store, ScriptedProbe({"wf-1": insert_another, "wf-2": insert_another}), batch_size=1
        )

    assert report.scanned == 2


async def test_counts_what_the_write_returned() -> None:
    store = MemoryStore(rows(2))

    def finished_by_someone_else(asked: RunRow) -> Observation:
        del store.running[asked.id]
        return closed()

    report = await reconcile(store, scripted(closed(), wf_1=finished_by_someone_else))

    assert report.written == {"completed": 1}
    assert report.lost_races == 1
    assert 1 not in store.finished


async def test_a_row_the_database_refuses_is_unknown_and_harms_no_other() -> None:
    store = MemoryStore(rows(3))
    store.refused = {2: "trigger says no"}

    report = await reconcile(store, scripted(closed()))

    assert report.written == {"completed": 2}
    assert report.unknown == 1
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_observation_is_concurrent_and_bounded() -> None:
    probe = scripted(Open())

    await reconcile(MemoryStore(rows(50)), probe, concurrency=8)

    assert probe.most_at_once == 8


async def test_one_rows_bug_does_not_end_the_pass() -> None:
    store = MemoryStore(rows(3))

    report = await reconcile(store, scripted(closed(), wf_2=ValueError("bug")))

    assert sorted(store.finished) == [1, 3]
    assert report.unknown == 1
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_an_unusable_temporal_ends_the_pass_and_keeps_what_was_written() -> None:
    store = MemoryStore(rows(4))
    probe = scripted(closed(), wf_3=TemporalUnusable("no such namespace"))

    report = await reconcile(store, probe, batch_size=2)

    assert sorted(store.finished) == [1, 2]
    assert report.outcome is PassOutcome.ABORTED
    assert report.error == "no such namespace"
    assert report.written == {"completed": 2}


async def test_the_next_page_is_read_while_this_one_is_observed() -> None:
    store, asked, read = MemoryStore(rows(2)), asyncio.Event(), asyncio.Event()

    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after is not None:
                await asked.wait()
                read.set()
            return await store.scan_running(after, until, limit)

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            asked.set()
            await read.wait()
            return Open()

    async with asyncio.timeout(5):
        report = await reconcile(Store(rows(2)), Probe({}), batch_size=1)

    assert report.scanned == 2


async def test_what_has_been_decided_is_written_though_temporal_went_away_meanwhile() -> None:
    away = asyncio.Event()

    class Store(MemoryStore):
        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            await away.wait()
            await asyncio.sleep(0)
            return await super().finish_if_running(pass_id, outcomes)

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            if asked_row.id == 2:
                away.set()
                raise TemporalUnusable("away")
            return closed()

    store = Store(rows(2))
    report = await reconcile(store, Probe({}), batch_size=1)

    assert list(store.finished) == [1]
    assert report.written == {"completed": 1}
    assert report.outcome is PassOutcome.ABORTED


async def test_a_page_is_written_while_the_next_is_observed() -> None:
    next_asked = asyncio.Event()

    class Store(MemoryStore):
        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            if outcomes[0].row.id == 1:
                await next_asked.wait()
            return await super().finish_if_running(pass_id, outcomes)

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            if asked_row.id == 2:
                next_asked.set()
            return closed()

    async with asyncio.timeout(5):
        report = await reconcile(Store(rows(2)), Probe({}), batch_size=1)

    assert report.written == {"completed": 2}


async def test_an_unusable_database_ends_the_pass() -> None:
    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after is not None:
                raise DatabaseUnusable("gone")
            return await super().scan_running(after, until, limit)

    report = await reconcile(Store(rows(3)), scripted(Open()), batch_size=1)

    assert report.outcome is PassOutcome.ABORTED
    assert report.error == "gone"


class Slow(ScriptedProbe):
    """Answers the first rows, and never the others."""

    def __init__(self, answers: int, observation: Observation) -> None:
        super().__init__({})
        self.answers_left, self.observation = answers, observation
        self.hanging = asyncio.Event()

    async def observe(self, asked_row: RunRow) -> Observation:
        if not self.answers_left:
            self.hanging.set()
            await asyncio.Event().wait()
        self.answers_left -= 1
        return self.observation


class TestStopping:
    """A pass that is cancelled: by a signal, or by whoever runs it."""

    @pytest.mark.parametrize("batch_size", [2, 3, 100])
    async def test_what_has_been_decided_is_written(self, batch_size: int) -> None:
        store, probe = MemoryStore(rows(9)), Slow(5, closed())
        before = asyncio.all_tasks()
        task = asyncio.create_task(reconcile(store, probe, batch_size=batch_size))
        await probe.hanging.wait()
        task.cancel()
        report = await task

        assert len(store.finished) == report.changed == report.scanned == 5
        assert (report.outcome, report.stopped) == (PassOutcome.ABORTED, True)
        assert report.error == "stopped before its end"
        assert task.cancelling() == 0
        assert asyncio.all_tasks() == before

    async def test_the_observer_hears_of_it(self) -> None:
        probe, recorder = Slow(0, closed()), Recorder()
        task = asyncio.create_task(
            run_pass(MemoryStore(rows(1)), probe, [recorder], policy(), PassOptions(), NOW)
        )
        await probe.hanging.wait()
        task.cancel()

        assert recorder.ended == [await task]

    async def test_during_a_write_the_write_is_finished(self) -> None:
        class Store(MemoryStore):
            writing, may_end = asyncio.Event(), asyncio.Event()

            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                self.writing.set()
                await self.may_end.wait()
                return await super().finish_if_running(pass_id, outcomes)

        store = Store(rows(4))
        task = asyncio.create_task(reconcile(store, scripted(closed()), batch_size=2))
        await store.writing.wait()
        for _ in range(5):  # let it go on until it waits for the write
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
    async def test_missing_rows_are_failed_only_when_asked_twice(
        self, answers: int, written: int
    ) -> None:
        store, probe = MemoryStore(rows(9)), Slow(answers, Missing())
        task = asyncio.create_task(
            reconcile(store, probe, policy(missing=MissingPolicy.FAIL), batch_size=2)
        )
        await probe.hanging.wait()
        task.cancel()
        report = await task

        assert len(store.finished) == report.changed == written
        assert report.left == {LeaveReason.NEVER_STARTED: 5}

    async def test_while_its_end_is_being_recorded_that_is_finished_first(self) -> None:
        class Slow(Recorder):
            recording, may_end = asyncio.Event(), asyncio.Event()

            async def on_pass(self, report: PassReport) -> None:
                self.recording.set()
                await self.may_end.wait()
                await super().on_pass(report)

        slow = Slow()
        task = asyncio.create_task(
            run_pass(MemoryStore(), ScriptedProbe({}), [slow], policy(), PassOptions(), NOW)
        )
        await slow.recording.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        slow.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert len(slow.ended) == 1

    async def test_a_second_time_it_ends_at_once(self) -> None:
        class Store(MemoryStore):
            writing = asyncio.Event()

            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                self.writing.set()
                await asyncio.Event().wait()
                raise AssertionError

        store = Store(rows(1))
        before = asyncio.all_tasks()
        task = asyncio.create_task(reconcile(store, scripted(closed())))
        await store.writing.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

        assert asyncio.all_tasks() == before


async def test_a_dry_run_writes_nothing_and_counts_what_it_would() -> None:
    store = MemoryStore(rows(3))

    report = await reconcile(store, scripted(closed()), dry_run=True)

    assert report.written == {"completed": 3}
    assert not store.finished


async def test_observers_hear_of_the_start_before_any_write_and_of_the_end_after_it() -> None:
    store, recorder = MemoryStore(rows(1)), Recorder()

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            assert recorder.started
            assert not recorder.ended
            return closed()

    report = await run_pass(store, Probe({}), [recorder], policy(), PassOptions(), NOW)

    assert recorder.started == recorder.ended == [report]


async def test_observers_hear_of_what_was_really_written() -> None:
    store, recorder = MemoryStore(rows(3)), Recorder()
    store.refused = {2: "trigger says no"}

    def finished_by_someone_else(asked: RunRow) -> Observation:
        del store.running[asked.id]
        return closed()

    probe = scripted(closed(), wf_3=finished_by_someone_else)
    await run_pass(store, probe, [recorder], policy(), PassOptions(), NOW)
    dry = Recorder()
    again = MemoryStore(rows(1))
    await run_pass(again, scripted(closed()), [dry], policy(), PassOptions(dry_run=True), NOW)

    assert [outcome.row.id for outcome in recorder.written] == [1]
    assert dry.written == []


async def test_the_retention_is_asked_for_in_each_pass() -> None:
    class Probe(ScriptedProbe):
        async def retention(self) -> timedelta:
            return timedelta(minutes=1)

    report = await reconcile(MemoryStore(rows(1)), Probe({}), policy())

    assert report.left == {"expired": 1}, "an hour old"


async def test_a_temporal_that_is_away_is_noticed_without_a_single_row() -> None:
    class Probe(ScriptedProbe):
        async def retention(self) -> timedelta:
            raise TemporalUnusable("away")

    report = await reconcile(MemoryStore(), Probe({}))

    assert (report.outcome, report.error) == (PassOutcome.ABORTED, "away")


@pytest.mark.parametrize(
    ("observation", "dry_run", "level"),
    [(closed(), False, "info"), (closed(), True, "debug"), (Open(), False, "debug")],
    ids=["changed", "dry run", "quiet"],
)
async def test_a_pass_that_changed_something_is_worth_a_line(
    observation: Observation, dry_run: bool, level: str
) -> None:
    with capture_logs() as lines:
        await reconcile(MemoryStore(rows(2)), scripted(observation), dry_run=dry_run)

    (line,) = [line for line in lines if line["event"] == "pass"]
    assert line["log_level"] == level
    assert line["scanned"] == 2


async def test_what_is_wrong_is_told_once_and_again_when_it_changes() -> None:
    pass_log, warned = PassLog(), []
    for cause in ("busy", "busy", "no such run", None, "busy"):
        answer = Open() if cause is None else Unknown(cause)
        with capture_logs() as lines:
            await run_pass(
                MemoryStore(rows(1)),
                ScriptedProbe({}, answer),
                [],
                policy(),
                PassOptions(),
                NOW,
                pass_log,
            )
        warned.append([line["detail"] for line in lines if line["log_level"] == "warning"])

    assert warned == [["busy"], [], ["no such run"], [], ["busy"]]


async def test_a_row_that_is_refused_and_most_that_are_missing_are_told_once() -> None:
    pass_log, warned = PassLog(), 0
    for _ in range(3):
        store = MemoryStore(rows(30))
        store.refused = {1: "trigger says no"}
        with capture_logs() as lines:
            await run_pass(
                store,
                scripted(Missing(), wf_1=closed()),
                [],
                policy(),
                PassOptions(),
                NOW,
                pass_log,
            )
        warned += sum(line["log_level"] == "warning" for line in lines)

    assert warned == 2


async def test_a_row_that_is_finished_has_a_line_that_explains_it() -> None:
    with capture_logs() as lines:
        report = await reconcile(MemoryStore(rows(1)), scripted(closed(CloseStatus.FAILED)))

    (line,) = [line for line in lines if line["event"] == "finished"]
    assert line == {
        "event": "finished",
        "log_level": "info",
        "workflow_id": "wf-1",
        "run_id": "run-1",
        "old": "running",
        "new": "failed",
        "why": "boom",
        "closed": "2026-11-23T11:59:58.123456+00:00",
        "pass_id": report.pass_id,
    }


async def test_rpcs_are_those_of_this_pass() -> None:
    store, probe = MemoryStore(rows(3)), scripted(Open())

    await reconcile(store, probe)
    second = await reconcile(store, probe)

    assert second.rpcs == {"describe": 3}


class TestMissingRowsThatAreToBeFailed:
    RULES = policy(missing=MissingPolicy.FAIL)

    async def test_are_failed_if_they_are_few(self) -> None:
        store = MemoryStore(rows(30))
        probe = scripted(Open(), wf_1=Missing(), wf_2=Missing())

        report = await reconcile(store, probe, self.RULES)

        assert report.written == {"failed": 2}
        assert report.outcome is PassOutcome.OK

    async def test_are_held_back_by_the_breaker_if_they_are_most(self) -> None:
        store = MemoryStore([*rows(30), row(31, age=timedelta(days=2))])
        probe = scripted(Missing(), wf_1=closed())

        report = await reconcile(store, probe, self.RULES, batch_size=10)

        assert list(store.finished) == [1], "what Temporal did say is written all the same"
        assert report.left == {"never_started": 29, "expired": 1}
        assert report.outcome is PassOutcome.UNRESOLVED

    async def test_rows_too_young_to_tell_do_not_trip_the_breaker(self) -> None:
        young = [row(number, age=timedelta(seconds=1)) for number in range(1, 30)]
        store = MemoryStore([*young, row(30)])

        report = await reconcile(store, scripted(Missing()), self.RULES)

        assert report.written == {"failed": 1}

    async def test_are_asked_about_once_more_before_they_are_failed(self) -> None:
        store = MemoryStore(rows(2))
        answers: Iterator[Observation] = iter([Missing(), Open()])

        report = await reconcile(
            store,
            ScriptedProbe({"wf-1": lambda _: next(answers)}, default=closed()),
            self.RULES,
        )

        assert report.left == {"open": 1}
        assert list(store.finished) == [2]

    async def test_that_are_left_by_policy_do_not_make_the_pass_unresolved(self) -> None:
        report = await reconcile(MemoryStore(rows(30)), scripted(Missing()))

        assert report.left == {"never_started": 30}
        assert report.outcome is PassOutcome.OK


async def test_a_closed_workflow_is_written_with_temporals_own_close_time() -> None:
    store, end = MemoryStore(rows(1)), closed()
    assert isinstance(end, Closed)

    await reconcile(store, scripted(end))

    written = store.finished[1]
    assert written.completed_at == end.close_time
    assert written.final_run_id == end.run_id


def test_leave_reasons_are_the_keys_of_the_json() -> None:
    assert {reason.value for reason in LeaveReason} == {
        "open",
        "too_young",
        "never_started",
        "expired",
        "unknown",
    }
    assert Leave(row(), LeaveReason.OPEN).detail is None
