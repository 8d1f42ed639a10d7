"""Acting on verdicts, and the pauses after writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Leave, LeaveReason, Outcome, RunRow, Verdict
from reconciler.core.observer import Observer
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.passes import reconcile as pass_module
from reconciler.passes.log import PassLog
from reconciler.passes.settle import MAX_PAUSE, Settler
from tests.support.factories import NOW, closed, finish
from tests.support.fakes import FakeHistory, MemoryStore, Recorder
from tests.support.passes.bench import reconcile, rows, scripted


class Clock:
    """Moves when something takes time; `slept` are the pauses made."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class SlowStore(MemoryStore):
    """A write takes this number of seconds."""

    def __init__(self, rows: Sequence[RunRow], clock: Clock, seconds: float) -> None:
        super().__init__(rows)
        self.clock, self.seconds = clock, seconds

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        assert not self.clock.slept, "the pause comes after the write"
        self.clock.now += self.seconds
        return await super().finish_if_running(pass_id, outcomes)


def settler(
    store: MemoryStore,
    clock: Clock,
    *observers: Observer,
    pauses: bool = True,
    dry_run: bool = False,
) -> Settler:
    report = PassReport("p-1", PassRequest("backfill", dry_run=dry_run), started_at=NOW)
    return Settler(
        store,
        FakeHistory(),
        observers,
        PassLog(),
        report,
        PassOptions(pauses=pauses),
        "running",
        clock=clock,
        sleep=clock.sleep,
    )


async def settle(settling: Settler, verdicts: Sequence[Verdict]) -> None:
    """As a pass does it."""
    settled = await settling.settle(verdicts)
    settling.report.done.add(settled.tally)
    await settling.announce(settled)


@pytest.mark.parametrize(
    ("took", "pause"), [(0.25, 0.25), (MAX_PAUSE, MAX_PAUSE), (7.5, MAX_PAUSE)]
)
async def test_after_a_write_it_pauses_as_long_as_that_took_but_not_for_long(
    took: float, pause: float
) -> None:
    clock = Clock()
    settling = settler(SlowStore(rows(2), clock, took), clock)

    await settle(settling, [finish(row) for row in rows(2)])

    assert clock.slept == [pause]
    assert settling.report.changed == 2


async def test_each_write_has_a_pause_of_its_own() -> None:
    clock = Clock()
    settling = settler(MemoryStore(rows(2)), clock)

    for row in rows(2):
        await settle(settling, [finish(row)])

    assert clock.slept == [0, 0]


@pytest.mark.parametrize(("pauses", "dry_run"), [(False, False), (True, True)])
async def test_there_is_no_pause_unless_it_is_asked_for_and_something_was_written(
    pauses: bool, dry_run: bool
) -> None:
    clock = Clock()
    settling = settler(MemoryStore(rows(1)), clock, pauses=pauses, dry_run=dry_run)

    await settle(settling, [finish(row) for row in rows(1)])

    assert clock.slept == []
    assert settling.report.changed == 1


async def test_there_is_no_pause_if_there_was_nothing_to_write() -> None:
    clock = Clock()
    settling = settler(MemoryStore(rows(1)), clock)

    await settle(settling, [Leave(row, LeaveReason.OPEN) for row in rows(1)])

    assert clock.slept == []
    assert settling.report.tally.left == {"open": 1}


@pytest.mark.parametrize(("pauses", "writes"), [(True, 2), (False, 0)])
async def test_a_pass_pauses_after_each_write_if_asked_to(
    pauses: bool, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with_clock = partial(Settler, clock=clock, sleep=clock.sleep)
    monkeypatch.setattr(pass_module, "Settler", with_clock)

    await reconcile(MemoryStore(rows(3)), scripted(closed()), pauses=pauses, batch_size=2)

    assert len(clock.slept) == writes


async def test_rows_are_written_in_one_statement() -> None:
    class Store(MemoryStore):
        statements = 0

        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            self.statements += 1
            assert pass_id == "p-1"
            return await super().finish_if_running(pass_id, outcomes)

    store, recorder = Store(rows(5)), Recorder()
    settling = settler(store, Clock(), recorder)

    await settle(settling, [finish(row) for row in rows(5)])

    assert store.statements == 1
    assert [outcome.row.id for outcome in recorder.written] == [1, 2, 3, 4, 5]


class HalfStore(MemoryStore):
    """Writes the first row, is refused the second, and loses the database at the third."""

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        first, second, *others = [outcome.row.id for outcome in outcomes]
        failure = DatabaseUnusable("connection lost")
        return Written(frozenset([first]), {second: "no"}, frozenset(others), failure)


async def test_what_was_written_before_the_database_was_lost_is_counted_logged_and_notified() -> (
    None
):
    recorder = Recorder()
    settling = settler(HalfStore(), Clock(), recorder)

    with capture_logs() as lines, pytest.raises(DatabaseUnusable, match="connection lost"):
        await settle(settling, [finish(row) for row in rows(5)])

    report = settling.report
    assert (report.changed, report.unknown, report.tally.lost_races) == (1, 1, 0)
    assert [outcome.row.id for outcome in recorder.written] == [1]
    assert [line["event"] for line in lines] == ["row_finished", "row_refused"]


async def test_a_pass_reports_what_it_wrote_before_the_database_was_lost() -> None:
    report = await reconcile(HalfStore(rows(5)), scripted(closed()))

    assert (report.outcome, report.error) == ("aborted", "connection lost")
    assert (report.changed, report.unknown, report.tally.lost_races) == (1, 1, 0)
    assert report.progress == Progress(Span(None, 5)), "rows that were not tried are still to do"
