"""A pass whose clock cannot be read, and what the history records of passes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from reconciler.core.errors import DatabaseUnusable, TemporalUnusable
from reconciler.core.model import Missing, Outcome
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome, PassReport, Report
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.core.undo import UndoReport
from reconciler.passes.lifecycle import read_clock, run_recorded
from tests.support.factories import NOW, closed
from tests.support.fakes import FakeHistory, MemoryStore, Recorder
from tests.support.passes.bench import FAIL, accounted_for, reconcile, rows, scripted

EARLIER = datetime(1970, 1, 1, tzinfo=NOW.tzinfo)


def report(*, resumed: bool = False) -> PassReport:
    return PassReport("1", PassRequest("run"), started_at=EARLIER, resumed=resumed)


async def test_the_pass_began_when_the_clock_was_read() -> None:
    new, observer = report(), Recorder()

    async def read() -> datetime:
        return NOW

    assert await read_clock(new, FakeHistory(), [observer], read) == NOW
    assert new.started_at == NOW
    assert observer.ended == [], "it continues"


async def test_a_resumed_pass_keeps_its_start() -> None:
    old = report(resumed=True)

    async def read() -> datetime:
        return NOW

    assert await read_clock(old, FakeHistory(), [], read) == NOW
    assert old.started_at == EARLIER


async def test_a_clock_that_cannot_be_read_aborts_the_pass_and_observers_are_notified() -> None:
    new, observer = report(), Recorder()

    async def read() -> datetime:
        raise DatabaseUnusable("gone")

    assert await read_clock(new, FakeHistory(), [observer], read) is None
    assert (new.outcome, new.error) == (PassOutcome.ABORTED, "gone")
    assert observer.ended == [new]


async def test_a_stop_while_the_clock_is_read_stops_the_pass() -> None:
    new, observer, reading = report(), Recorder(), asyncio.Event()

    async def read() -> datetime:
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(read_clock(new, FakeHistory(), [observer], read))
    await reading.wait()
    task.cancel()

    assert await task is None
    assert new.stopped
    assert observer.ended == [new]


async def test_a_bug_ends_the_pass_and_is_raised() -> None:
    observer, new = Recorder(), report()

    async def read() -> datetime:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read_clock(new, FakeHistory(), [observer], read)
    assert observer.ended == [new]
    assert new.error == "internal error: ZeroDivisionError()"


@pytest.mark.parametrize("resumed", [False, True])
async def test_the_end_is_recorded_only_if_the_history_knows_the_pass(resumed: bool) -> None:
    history, old = FakeHistory(), report(resumed=resumed)

    async def read() -> datetime:
        raise DatabaseUnusable("gone")

    await read_clock(old, history, [], read)

    assert history.ended == [old] * resumed


class NoTouching(FakeHistory):
    """Fails at every call."""

    async def begin(self, report: Report) -> Swept | None:
        raise AssertionError

    async def checkpoint(self, report: PassReport) -> None:
        raise AssertionError

    async def written(self, pass_id: str) -> Mapping[str, int] | None:
        raise AssertionError

    async def end(self, report: Report) -> None:
        raise AssertionError


@pytest.mark.parametrize("failing", [None, TemporalUnusable("unreachable")])
async def test_a_dry_run_never_touches_the_history(failing: TemporalUnusable | None) -> None:
    dry_run = PassReport.begin(PassRequest("backfill", dry_run=True, asked={}), NOW)
    probe = scripted(closed(), wf_2=Missing(), wf_5=failing or closed())

    await reconcile(
        MemoryStore(rows(6)), probe, FAIL, history=NoTouching(), report=dry_run, batch_size=2
    )

    assert dry_run.error == (failing and "unreachable")
    assert dry_run.changed == (4 if failing else 6)


async def test_an_aborted_pass_counts_what_the_journal_says() -> None:
    history = FakeHistory(journal={"completed": 2})

    class Store(MemoryStore):
        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            written = await super().finish_if_running(pass_id, outcomes)
            if 2 in written.ids:
                raise DatabaseUnusable("connection lost after the commit")
            return written

    aborted = await reconcile(Store(rows(3)), scripted(closed()), history=history, batch_size=1)

    assert aborted.error == "connection lost after the commit"
    assert aborted.tally.written == {"completed": 2}
    assert aborted.tally.scanned == accounted_for(aborted) == 2
    assert history.ended == [aborted]


@pytest.mark.parametrize(
    ("journal", "error", "written"),
    [({"completed": 9}, None, 4), (None, "unreachable", 3)],
    ids=["not aborted", "no journal"],
)
async def test_any_other_pass_keeps_its_own_counts(
    journal: Mapping[str, int] | None, error: str | None, written: int
) -> None:
    probe = scripted(closed(), wf_4=TemporalUnusable(error) if error else closed())

    ended = await reconcile(
        MemoryStore(rows(4)), probe, history=FakeHistory(journal=journal), batch_size=1
    )

    assert (ended.error, ended.tally.written) == (error, {"completed": written})


async def test_a_stopped_undo_counts_what_the_journal_says() -> None:
    stopped, history = (
        UndoReport("2", PassRequest("undo"), NOW),
        FakeHistory(journal={"running": 2}),
    )

    async def run(_: Swept | None) -> None:
        stopped.stop()

    await run_recorded(stopped, history, run)

    assert stopped.written == {"running": 2}
    assert history.ended == [stopped]
