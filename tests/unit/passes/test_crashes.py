"""Whatever ends a pass, and wherever: once resumed, it finishes every row exactly once.

And counts each once, as one in one go does.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Observation, Outcome, RunRow
from reconciler.core.policy import MissingPolicy
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from tests.support.factories import policy
from tests.support.fakes import FakeHistory, MemoryStore, ScriptedProbe
from tests.support.passes.bench import accounted_for, reconcile, recorded, resumable, resumed
from tests.support.properties import examples
from tests.unit.passes.test_pieces import KINDS, Table

#: What ends a process, and at which call.
ENDS = st.tuples(
    st.sampled_from(["killed before", "killed after", "stopped", "unreachable"]), st.integers(1, 12)
)
NONE: Counter[str] = Counter()
RULES = policy(missing=MissingPolicy.FAIL, max_missing_ratio=1.0)


class Killed(BaseException):
    """The process is gone: it reports and records nothing more."""


@dataclass
class Records(FakeHistory):
    """What is recorded after each page and journalled by each write; outlives the process."""

    recorded_json: str = ""
    journalled: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    async def checkpoint(self, report: PassReport) -> None:
        self.recorded_json = recorded(report)

    async def written(self, pass_id: str) -> Counter[str]:
        return self.journalled[pass_id]

    def report(self) -> PassReport:
        if not self.recorded_json:
            return resumable()
        return resumed(
            self.recorded_json, self.journalled[json.loads(self.recorded_json)["pass_id"]]
        )


@dataclass
class Process:
    """A pass over a table, in a process that is ended at some call."""

    table: Table
    records: Records
    end: str
    calls_left: int
    task: asyncio.Task[Any] | None = field(default=None, init=False)

    async def run(
        self, store: MemoryStore, probe: ScriptedProbe, **options: Any
    ) -> PassReport | None:
        """Its report; None if it was killed."""
        begun = self.records.report()
        self.task = asyncio.create_task(
            reconcile(store, probe, RULES, history=self.records, report=begun, **options)
        )
        await asyncio.wait([self.task])
        return None if self.task.exception() else self.task.result()

    def comes(self, *ends: str) -> bool:
        self.calls_left -= self.end in ends
        return self.calls_left == 0 and self.end in ends


class Store(MemoryStore):
    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process, self.running = process, process.table.store.running

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        if self.process.comes("killed before"):
            raise Killed
        written = await self.process.table.store.finish_if_running(pass_id, outcomes)
        done = [outcome.status for outcome in outcomes if outcome.row.id in written.ids]
        self.process.records.journalled[pass_id].update(done)
        if self.process.comes("killed after"):
            raise Killed
        return written


class Probe(ScriptedProbe):
    def __init__(self, process: Process) -> None:
        super().__init__(process.table.probe.answers)
        self.process = process

    async def observe(self, row: RunRow) -> Observation:
        if self.process.comes("unreachable"):
            raise TemporalUnusable("unreachable")
        if self.process.comes("stopped"):
            assert self.process.task is not None
            self.process.task.cancel()
        return await super().observe(row)


@examples(200)
@given(
    kinds=st.lists(st.sampled_from(list(KINDS)), max_size=14),
    batch_size=st.integers(1, 5),
    ends=st.lists(ENDS, max_size=5),
)
@example(["completed"] * 6, 2, [("killed after", 1), ("killed before", 2)])
@example(["missing"] * 6, 2, [("killed after", 2), ("stopped", 3)])
async def test_in_the_end_every_row_is_finished_once_as_by_one_pass(
    kinds: Sequence[str], batch_size: int, ends: Sequence[tuple[str, int]]
) -> None:
    at_once, piecewise, records, last = Table(kinds), Table(kinds), Records(), None

    with capture_logs():
        whole = await reconcile(at_once.store, at_once.probe, RULES)
        for end, calls in [*ends, ("of itself", 0)]:
            process = Process(piecewise, records, end, calls)
            last = await process.run(Store(process), Probe(process), batch_size=batch_size)

    assert piecewise.store.finished == at_once.store.finished
    assert set(piecewise.store.times.values()) <= {1}, "written more than once"
    assert last is not None
    assert not last.more_left
    # A process that recorded nothing is not resumed: the next pass has less to do.
    before = sum(
        (written for id_, written in records.journalled.items() if id_ != last.pass_id), NONE
    )
    assert +last.tally.written + before == +whole.tally.written
    assert (+last.tally.left, last.tally.missing) == (+whole.tally.left, whole.tally.missing)
    assert last.tally.scanned == accounted_for(last) == len(kinds) - before.total()
    assert last.tally.lost_races == 0
