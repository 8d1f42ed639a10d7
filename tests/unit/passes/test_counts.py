"""Each row that was looked at is counted once, whatever happens to it between the two looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import (
    Missing,
    Observation,
    Open,
    Outcome,
    RowId,
    RunRow,
    Unknown,
    Verdict,
)
from reconciler.core.observer import Observer, PassView
from reconciler.core.ports import Written
from reconciler.web.metrics.passes import PassMetrics
from tests.support.factories import closed, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, accounted_for, in_turn, reconcile, rows, scripted
from tests.support.properties import examples


async def test_a_row_that_is_refused_at_both_looks_is_unknown_once() -> None:
    store = MemoryStore(rows(3))
    store.refused = {1: "trigger says no"}

    report = await reconcile(store, scripted(Missing(), wf_1=closed()), FAIL)

    assert (report.tally.written, report.tally.left) == ({"failed": 2}, {"unknown": 1})
    assert report.tally.scanned == accounted_for(report) == 3


async def test_a_row_that_is_locked_at_first_and_written_later_is_no_lost_race() -> None:
    class Store(MemoryStore):
        locked = True

        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            if self.locked:
                self.locked = False
                return Written(frozenset())
            return await super().finish_if_running(pass_id, outcomes)

    report = await reconcile(Store(rows(3)), scripted(Missing(), wf_1=closed()), FAIL)

    assert report.tally.written == {"completed": 1, "failed": 2}
    assert report.tally.lost_races == 0
    assert report.tally.scanned == accounted_for(report) == 3


async def test_a_row_found_only_by_the_second_look_counts_as_scanned() -> None:
    """Ids are assigned before a transaction commits: a lower one may become visible later."""

    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if len(probe.asked) == 3:  # the scan is over
                self.running[1] = row(1)
            return await super().scan_running(after, until, limit)

    probe = scripted(Missing(), wf_1=Open())

    report = await reconcile(Store(rows(4)[1:]), probe, FAIL)

    assert (report.tally.written, report.tally.left) == ({"failed": 3}, {"open": 1})
    assert report.tally.scanned == accounted_for(report) == 4


async def test_no_count_is_negative_while_there_is_more_to_do() -> None:
    store = MemoryStore([row(1), row(2, age=timedelta(days=3))])
    probe = scripted(Missing(), wf_1=in_turn(Open(), Missing()))

    report = await reconcile(store, probe, FAIL, max_changes=1)

    assert report.more_left
    assert report.tally.scanned == accounted_for(report) == 2
    assert min(report.tally.left.values()) >= 0


async def test_a_pass_that_was_cut_off_at_its_second_look_has_counts_for_metrics() -> None:
    def cut_off(asked: RunRow) -> Observation:
        if probe.asked.count("wf-3") == 2:
            raise TemporalUnusable("unreachable")
        return Missing()

    old = timedelta(days=3)
    store = MemoryStore([row(1), row(2, age=old), row(3, age=old)])
    probe = scripted(Missing(), wf_1=in_turn(Open(), Missing()), wf_3=cut_off)
    metrics = PassMetrics(CollectorRegistry(), "run")

    report = await reconcile(store, probe, FAIL, observers=[metrics], batch_size=2)

    assert report.error == "unreachable"


class Balance(Observer):
    """Adds up the counts after each page."""

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        assert report.tally.scanned == report.tally.ends
        assert min(report.tally.left.values(), default=0) >= 0


ANSWERS = st.sampled_from([Open(), closed(), Missing(), Unknown("busy")])


@examples(200)
@given(
    looks=st.lists(st.tuples(ANSWERS, ANSWERS | st.none()), max_size=12),
    refused=st.sets(st.integers(1, 12), max_size=3),
    batch_size=st.integers(1, 5),
    max_changes=st.none() | st.integers(0, 6),
)
async def test_the_counts_add_up_after_each_page_whatever_happens_between_the_looks(
    looks: Sequence[tuple[Observation, Observation | None]],
    refused: set[int],
    batch_size: int,
    max_changes: int | None,
) -> None:
    """None: somebody else has finished the row before the second look."""

    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if len(probe.asked) >= len(looks):  # the scan is over
                self.running = {i: r for i, r in self.running.items() if looks[int(str(i)) - 1][1]}
            return await super().scan_running(after, until, limit)

    store = Store(row(id_, age=timedelta(hours=20 * id_)) for id_ in range(1, len(looks) + 1))
    store.refused = dict.fromkeys(refused, "trigger says no")
    probe = ScriptedProbe(
        {
            f"wf-{id_}": in_turn(first, second or Open())
            for id_, (first, second) in enumerate(looks, start=1)
        }
    )

    with capture_logs():
        report = await reconcile(
            store,
            probe,
            FAIL,
            observers=[Balance()],
            batch_size=batch_size,
            max_changes=max_changes,
        )

    assert report.tally.scanned == accounted_for(report)
    assert report.tally.written == Counter(o.status for o in store.finished.values())
    assert report.more_left or report.tally.scanned == len(looks)
