"""Ranges of any size, killed anywhere, end and count like one pass over all rows.

Everything that the workflow and its activities pass on goes through JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.model import Outcome
from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.fleet import totals as totals_module
from reconciler.fleet.messages import Counts, Json, Previewed, Span, Speed, read_message
from reconciler.fleet.range_pass import RangeRecording, counts_of_range, set_progress
from reconciler.fleet.tasks import Ending, RangeWork, Work
from reconciler.fleet.totals import Totals, conclude, counts_of
from reconciler.passes.breaker import Breaker
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from tests.support.factories import NOW, policy
from tests.support.fakes import FakeHistory, MemoryStore, ScriptedProbe
from tests.support.passes.bench import accounted_for, reconcile
from tests.support.properties import examples
from tests.unit.passes.test_pieces import TABLES, Table, counts

PASS_ID = "00000000-0000-4000-8000-000000000000"
#: The writes at which workers are killed: before or after, counted from the last kill.
KILLS = st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=4)

_Message = TypeVar("_Message")


class Killed(Exception):
    """The worker is gone: its attempt says nothing more."""


@dataclass
class Fleet(MemoryStore):
    """The table, as workers write it that are killed now and then; and the workflow."""

    table: Table
    rules: Policy
    batch_size: int
    dry_run: bool
    kills: Iterator[tuple[bool, int]]
    journalled: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    kill: tuple[bool, int] = (False, 0)

    def __post_init__(self) -> None:
        self.running, self.pages, self.looked_for_rivals = self.table.store.running, 0, []
        self.finished = self.table.store.finished
        self.kill = next(self.kills, (False, 0))

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        self.writes += 1
        due = self.writes == self.kill[1]
        if due and not self.kill[0]:
            self._killed()
        written = await self.table.store.finish_if_running(pass_id, outcomes)
        self.journalled.update(o.status for o in outcomes if o.row.id in written.ids)
        if due:
            self._killed()
        return written

    def _killed(self) -> None:
        self.kill, self.writes = next(self.kills, (False, 0)), 0
        raise Killed

    @property
    def work(self) -> Work:
        previewed = Previewed("", "t", "n", {}, {}, {}, "")
        speed = Speed(1, 0, 0, self.batch_size, 3)
        return Work(PASS_ID, previewed, speed, self.dry_run, NOW.isoformat())

    async def range(self, spans: Sequence[Span], *, is_second: bool) -> Counts:
        """One range, in as many attempts as it takes."""
        work, details = RangeWork(self.work, spans, is_second=is_second), list[Json]()
        while True:
            resumed_from = details[-1] if details else None
            try:
                return sent(Counts, await self._attempt(work, resumed_from, details))
            except Killed:
                continue

    async def _attempt(
        self, work: RangeWork, resumed_from: Json | None, details: list[Json]
    ) -> Counts:
        report = PassReport(PASS_ID, PassRequest("backfill", self.dry_run), NOW, resumed=True)
        set_progress(report, int, work, resumed_from)
        probe = ScriptedProbe(self.table.probe.answers)
        recording = RangeRecording(
            report, probe, None, lambda beat: details.append(json.loads(json.dumps(beat)))
        )
        rules = replace(self.rules, max_missing_ratio=1.0) if work.is_second else self.rules
        options = PassOptions(self.batch_size, 3, second_look=work.is_second)
        history, log = recording, PassLog(each_row=False)
        await run_pass(self, probe, history, [recording], rules, options, NOW, report, log)
        assert report.error is None
        return counts_of_range(report, work)

    async def backfill(self, rows: Sequence[int]) -> PassReport:
        """What the workflow does; `rows`: of each range."""
        totals = Totals()
        for span in cut(rows):
            totals.add(await self.range([span], is_second=False), [span])
            totals = Totals(sent(Counts, totals.as_counts()))
        to_recheck, report = totals.spans, self._report(totals)
        tripped = await Breaker(
            ScriptedProbe({}), FakeHistory(), self.rules, report, PassLog()
        ).trips()
        totals = Totals(sent(Counts, counts_of(report, ())))
        is_second = bool(to_recheck) and not tripped and not self.dry_run
        if is_second:
            for each in pairs(to_recheck):
                totals.add_second(await self.range(each, is_second=True))
                totals = Totals(sent(Counts, totals.as_counts()))
        report = self._report(totals, is_second=is_second)
        ending = Ending(self.work, totals.as_counts(), tripped=tripped, is_second=is_second)
        conclude(report, ending, self.rules.statuses.failed)
        return report

    def _report(self, totals: Totals, *, is_second: bool = False) -> PassReport:
        """The totals, corrected by the journal."""
        report = totals.as_report(PASS_ID, PassRequest("backfill", self.dry_run), NOW)
        assert report.progress is not None
        report.progress.rechecking = is_second
        if not self.dry_run:
            report.correct(self.journalled)
        return report


def sent(kind: type[_Message], message: Any) -> _Message:
    return read_message(kind, json.loads(json.dumps(asdict(message))))


def cut(rows: Sequence[int]) -> Iterator[Span]:
    after: int | None = None
    for count in rows:
        yield Span(after, (after or 0) + count)
        after = (after or 0) + count


def pairs(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    return (spans[place : place + 2] for place in range(0, len(spans), 2))


@examples(200)
@given(
    kinds=TABLES,
    batch_size=st.integers(1, 7),
    rows=st.lists(st.integers(1, 9), max_size=8),
    kills=KILLS,
    missing=st.sampled_from(MissingPolicy),
    max_spans=st.integers(1, 4),
    dry_run=st.booleans(),
)
@example(["missing", "open", "missing"] * 4, 1, [3, 3, 3], [], MissingPolicy.FAIL, 1, False)
@example(["missing"] * 6, 2, [3], [(True, 2), (False, 1)], MissingPolicy.FAIL, 4, False)
async def test_ranges_end_like_a_single_pass(
    kinds: Sequence[str],
    batch_size: int,
    rows: Sequence[int],
    kills: Sequence[tuple[bool, int]],
    missing: MissingPolicy,
    max_spans: int,
    dry_run: bool,
) -> None:
    rules, at_once, ranged = policy(missing=missing), Table(kinds), Table(kinds)

    with capture_logs(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(totals_module, "MAX_SPANS", max_spans)
        whole = await reconcile(
            at_once.store, at_once.probe, rules, mode="backfill", dry_run=dry_run
        )
        fleet = Fleet(ranged, rules, batch_size, dry_run, iter(kills))
        report = await fleet.backfill([*rows, 31])

    assert ranged.store.finished == at_once.store.finished
    assert set(ranged.store.times.values()) <= {1}, "written more than once"
    assert counts(report) == counts(whole)
    assert report.outcome == whole.outcome
    assert report.tally.scanned == accounted_for(report) == len(kinds)
