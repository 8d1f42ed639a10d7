"""Limits, locks, refusals, stops and crashes at once: no row is skipped, each is written once.

And counted once. The processes of a pass come one after the other, each with limits of its own and
an end of its own; the last ones are left alone until nothing is left to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Missing, Observation, Outcome, RowId, RunRow
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from tests.support.factories import closed
from tests.support.fakes import MemoryStore
from tests.support.passes.bench import accounted_for
from tests.support.properties import examples
from tests.unit.passes.test_crashes import Killed, Probe, Process, Records
from tests.unit.passes.test_pieces import KINDS, Table

#: What to do with a row, and whether the first attempt to write it fails.
DUE = ("completed", "failed", "missing", "expired", "locked", "locked when missing")
MORE: dict[str, tuple[timedelta, Observation]] = {
    "locked": (timedelta(hours=1), closed()),
    "locked when missing": (timedelta(hours=1), Missing()),
}
ENDS = (
    *("of itself", "killed before", "killed after", "stopped", "stopped twice", "unreachable"),
    *("no database", "no answer", "half a batch"),
)


@dataclass(frozen=True)
class Turn:
    """A process: its limits, what ends it, and at which call."""

    batch_size: int
    limit: int | None
    max_changes: int | None
    end: str
    calls: int


TURNS = st.builds(
    Turn,
    st.integers(1, 6),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 5),
    st.sampled_from(ENDS),
    st.integers(1, 14),
)


class Store(MemoryStore):
    """Some rows are locked at the first attempt; the database may fail before a write or after."""

    def __init__(self, process: Process, tried: Counter[RowId]) -> None:
        super().__init__()
        self.process, self.running = process, process.table.store.running
        self.tried = tried

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        process, kinds = self.process, self.process.table.kinds
        if process.comes("killed before"):
            raise Killed
        if process.comes("no database"):
            raise DatabaseUnusable("unreachable")
        cut_off = process.comes("half a batch")
        tried = outcomes[: len(outcomes) // 2] if cut_off else outcomes
        untried = frozenset(outcome.row.id for outcome in outcomes[len(tried) :])
        self.tried.update(outcome.row.id for outcome in tried)
        free = [
            outcome
            for outcome in tried
            if self.tried[outcome.row.id] > 1 or "locked" not in kinds[int(str(outcome.row.id)) - 1]
        ]
        written = await process.table.store.finish_if_running(pass_id, free)
        done = [outcome.status for outcome in free if outcome.row.id in written.ids]
        process.records.journalled[pass_id].update(done)
        if process.comes("killed after"):
            raise Killed
        if process.comes("no answer"):
            raise DatabaseUnusable("the connection broke off")
        failure = DatabaseUnusable("unreachable") if cut_off else None
        return replace(written, untried=untried, failure=failure)


class Twice(Probe):
    async def observe(self, row: RunRow) -> Observation:
        if self.process.comes("stopped twice"):
            assert self.process.task is not None
            self.process.task.cancel()
            self.process.task.get_loop().call_soon(self.process.task.cancel)
        return await super().observe(row)


async def take(
    turn: Turn, table: Table, records: Records, tried: Counter[RowId]
) -> PassReport | None:
    process = Process(table, records, turn.end, turn.calls)
    return await process.run(
        Store(process, tried),
        Twice(process),
        batch_size=turn.batch_size,
        limit=turn.limit,
        max_changes=turn.max_changes,
    )


@examples(300)
@given(
    kinds=st.lists(st.sampled_from([*KINDS, *MORE]), max_size=16),
    turns=st.lists(TURNS, max_size=5),
    batch_size=st.integers(1, 6),
)
@example(["locked when missing", "missing", "missing"], [Turn(3, None, 1, "of itself", 1)], 3)
async def test_no_row_is_skipped_and_each_is_written_and_counted_once(
    kinds: Sequence[str], turns: Sequence[Turn], batch_size: int
) -> None:
    table, records, tried = Table(kinds, {**KINDS, **MORE}), Records(), Counter[RowId]()
    due = {number for number, kind in enumerate(kinds, start=1) if kind in DUE}

    with capture_logs():
        for turn in turns:
            before = len(table.store.finished)
            report = await take(turn, table, records, tried)
            if turn.max_changes is not None:
                assert len(table.store.finished) - before <= turn.max_changes
            if report is not None and not report.more_left:
                assert due <= tried.keys(), "skipped"
                records.recorded_json = ""  # nothing is left to resume
        last = await take(Turn(batch_size, None, None, "of itself", 0), table, records, tried)

    assert last is not None
    assert not last.more_left
    assert due <= tried.keys(), "skipped"
    locked = {number for number in due if "locked" in kinds[number - 1] and tried[number] == 1}
    assert table.store.finished.keys() == due - locked
    assert set(table.store.times.values()) <= {1}, "written more than once"
    assert last.tally.scanned == accounted_for(last)
    assert last.tally.lost_races == len(locked)
    journal = sum(records.journalled.values(), Counter[str]())
    assert journal == Counter(each.status for each in table.store.finished.values())
    assert +last.tally.written == +records.journalled[last.pass_id]
