"""The undo over a fake journal: what it counts, logs and records, and how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import Change, RestoreResult, RowState, SkipReason, UndoReport
from reconciler.passes import undo as module
from reconciler.passes.undo import MAX_LINES, run_undo
from tests.support.factories import NOW
from tests.support.fakes import FakeHistory

AS_LEFT = RowState(exists=True, same_run=True, has_old=False, has_new=True)
AS_BEFORE = RowState(exists=True, same_run=True, has_old=True, has_new=False)
CHANGED = RowState(exists=True, same_run=True, has_old=False, has_new=False)


@dataclass
class FakeJournal:
    """The changes 1 to `count` of a pass, each of another row; and what happens to them."""

    count: int
    now: dict[int, RowState | str] = field(default_factory=dict)
    locked: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    pruned: set[int] = field(default_factory=set)
    restored: list[int] = field(default_factory=list)
    pages: list[int | None] = field(default_factory=list)

    async def page(self, pass_id: str, before: int | None, limit: int) -> Sequence[Change]:
        self.pages.append(before)
        below = self.count + 1 if before is None else before
        ids = range(below - 1, max(below - 1 - limit, 0), -1)
        return [Change(i, f"row-{i}", "wf", "run", "running") for i in ids]

    async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
        now = {i: self.now.get(i, AS_LEFT) for i in of}
        as_left = [i for i, each in now.items() if isinstance(each, RowState) and each.has_new]
        done = [i for i in as_left if i not in self.locked | self.refused.keys() | self.pruned]
        self.restored += done
        refused = {i: why for i, why in self.refused.items() if i in as_left}
        return RestoreResult(dict.fromkeys(done, "running"), refused)

    async def row_states(self, of: Sequence[int]) -> Mapping[int, RowState | str]:
        return {i: self.now.get(i, AS_LEFT) for i in of if i not in self.pruned}


def report(*, dry_run: bool = False) -> UndoReport:
    return UndoReport("p-2", PassRequest("undo", dry_run=dry_run), started_at=NOW, undone="p-1")


async def undo(journal: FakeJournal, batch_size: int = 2, *, dry_run: bool = False) -> UndoReport:
    return await run_undo(journal, FakeHistory(), report(dry_run=dry_run), batch_size)


async def test_every_change_is_restored_newest_first() -> None:
    journal, recorder = FakeJournal(5), FakeHistory()

    done = await run_undo(journal, recorder, report(), batch_size=2)

    assert journal.restored == [5, 4, 3, 2, 1]
    assert (done.scanned, done.written, done.left) == (5, {"running": 5}, {})
    assert recorder.begun == recorder.ended == [done]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_row_that_cannot_be_read_is_skipped_with_the_reason(dry_run: bool) -> None:
    journal = FakeJournal(3, now={2: "missing chunk"})

    with capture_logs() as logs:
        done = await undo(journal, dry_run=dry_run)

    assert (done.written, done.left) == ({"running": 2}, {SkipReason.REFUSED: 1})
    assert done.outcome is PassOutcome.UNRESOLVED
    assert [line["cause"] for line in logs if line["event"] == "row_left"] == ["missing chunk"]
    assert done.duration_seconds > 0


async def test_what_is_not_restored_is_counted_by_its_reason() -> None:
    journal = FakeJournal(
        6,
        now={1: AS_BEFORE, 2: CHANGED},
        locked={3},
        refused={4: ""},
        pruned={5},
    )

    done = await undo(journal, batch_size=10)

    assert done.written == {"running": 1}
    assert done.left == dict.fromkeys(
        (
            SkipReason.AS_BEFORE,
            SkipReason.CHANGED,
            SkipReason.LOCKED,
            SkipReason.REFUSED,
            SkipReason.PRUNED,
        ),
        1,
    )


async def test_a_dry_run_counts_what_it_would_restore_and_writes_nothing() -> None:
    journal = FakeJournal(4, now={1: AS_BEFORE, 2: CHANGED})

    done = await undo(journal, dry_run=True)

    assert journal.restored == []
    assert (done.scanned, done.written) == (4, {"running": 2})
    assert done.left == {SkipReason.AS_BEFORE: 1, SkipReason.CHANGED: 1}


async def test_skipped_rows_are_logged_with_the_reason() -> None:
    journal = FakeJournal(3, now={1: AS_BEFORE, 2: CHANGED}, refused={3: "under audit"})
    with capture_logs() as lines:
        await undo(journal)

    logged = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["row"], line["reason"], line.get("cause")) for line in logged] == [
        ("row-3", "refused", "under audit"),
        ("row-2", "changed", None),
    ]


@pytest.mark.parametrize("more", [0, 1, 50])
async def test_of_very_many_the_first_are_logged_and_the_others_counted(more: int) -> None:
    rows = MAX_LINES + more
    journal = FakeJournal(rows, now=dict.fromkeys(range(1, rows + 1), CHANGED))
    with capture_logs() as lines:
        await undo(journal, batch_size=7)

    logged = [line for line in lines if line["log_level"] == "warning"]
    assert [line["event"] for line in logged[:MAX_LINES]] == ["row_left"] * MAX_LINES
    assert [(line["event"], line["rows"], line["why"]) for line in logged[MAX_LINES:]] == [
        ("more_rows_left", more, f"changed ({more})")
    ] * min(more, 1)


async def test_stopped_it_finishes_the_statement_under_way_and_says_so() -> None:
    class Slow(FakeJournal):
        writing, may_end = asyncio.Event(), asyncio.Event()

        async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
            self.writing.set()
            await self.may_end.wait()
            return await super().restore(pass_id, of)

    journal, recorder = Slow(5), FakeHistory()
    task = asyncio.create_task(run_undo(journal, recorder, report(), batch_size=2))
    await journal.writing.wait()
    task.cancel()
    await asyncio.sleep(0)
    journal.may_end.set()
    done = await task

    assert journal.restored == [5, 4]
    assert (done.scanned, done.written) == (2, {"running": 2})
    assert (done.stopped, done.error) == (True, "stopped before its end")
    assert [each.outcome for each in recorder.ended] == [PassOutcome.ABORTED]


async def test_a_database_that_becomes_unreachable_ends_it_with_its_counts_so_far() -> None:
    class Failing(FakeJournal):
        async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
            if self.restored:
                raise DatabaseUnusable("unreachable")
            return await super().restore(pass_id, of)

    recorder = FakeHistory()
    done = await run_undo(Failing(5), recorder, report(), batch_size=2)

    assert (done.error, done.scanned, done.written) == ("unreachable", 2, {"running": 2})
    assert [each.outcome for each in recorder.ended] == [PassOutcome.ABORTED]


async def test_run_again_it_continues_where_it_was_killed() -> None:
    journal = FakeJournal(4, now=dict.fromkeys((4, 3), AS_BEFORE))

    done = await undo(journal)

    assert journal.restored == [2, 1]
    assert done.outcome is PassOutcome.OK


async def test_it_pauses_after_each_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writes = []

    async def note(writing: Awaitable[RestoreResult]) -> RestoreResult:
        writes.append(restored := await writing)
        return restored

    monkeypatch.setattr(module, "then_pause", note)

    await undo(FakeJournal(5), batch_size=2)

    assert [len(restored.statuses) for restored in writes] == [2, 2, 1]


async def test_what_was_restored_before_the_database_was_lost_is_counted() -> None:
    class Half(FakeJournal):
        async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
            first, second, *others = of
            failure = DatabaseUnusable("connection lost")
            return RestoreResult({first: "running"}, {second: "no"}, frozenset(others), failure)

    done = await undo(Half(5), batch_size=4)

    assert (done.outcome, done.error) == (PassOutcome.ABORTED, "connection lost")
    assert (done.scanned, done.written, done.left) == (2, {"running": 1}, {SkipReason.REFUSED: 1})


@dataclass
class Losing(FakeJournal):
    """Loses its connection in a write, or when the states of rows are read."""

    failure: DatabaseUnusable | None = None
    silent: bool = False

    async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
        done = await super().restore(pass_id, of)
        untried = frozenset([1]) if self.failure else frozenset[int]()
        return RestoreResult(done.statuses, done.refused, untried, self.failure)

    async def row_states(self, of: Sequence[int]) -> Mapping[int, RowState | str]:
        if self.silent:
            raise DatabaseUnusable("unreachable")
        return await super().row_states(of)


async def test_changed_rows_are_counted_even_if_the_connection_was_lost() -> None:
    now: dict[int, RowState | str] = {1: CHANGED, 2: CHANGED}
    journal = Losing(4, now, refused={3: "no"}, failure=DatabaseUnusable("lost"))

    done = await undo(journal, batch_size=4)

    assert (done.error, done.scanned, done.written) == ("lost", 3, {"running": 1})
    assert done.left == {SkipReason.REFUSED: 1, SkipReason.CHANGED: 1}


@pytest.mark.parametrize("failure", [None, DatabaseUnusable("lost")])
async def test_a_row_whose_state_could_not_be_read_is_not_counted(
    failure: DatabaseUnusable | None,
) -> None:
    journal = Losing(4, {2: CHANGED}, {1}, failure=failure, silent=True)

    done = await undo(journal, batch_size=4)

    assert done.error == ("lost" if failure else "unreachable")
    assert (done.scanned, done.written, done.left) == (2, {"running": 2}, {})
