"""Rows that share a workflow id and have no run id: no end is written twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.core.model import Missing, Open, Rival, Unknown, Use
from reconciler.core.ports import Ending
from reconciler.core.report.pass_report import PassOutcome
from tests.support.factories import NOW, closed, row
from tests.support.fakes import MemoryStore
from tests.support.passes.bench import FAIL, reconcile, rows, scripted


async def test_rows_with_run_ids_need_no_query_for_rivals() -> None:
    store = MemoryStore(rows(5))

    await reconcile(store, scripted(closed()))

    assert len(store.finished) == 5
    assert store.looked_for_rivals == []


async def test_one_query_per_page_and_only_for_rows_that_would_be_finished() -> None:
    store = MemoryStore([replace(each, run_id=None) for each in rows(5)])
    probe = scripted(closed(), wf_2=Open(), wf_3=Missing())

    await reconcile(store, probe, FAIL, batch_size=4)

    assert store.looked_for_rivals[:2] == [[1, 4], [5]]
    assert store.running.keys() == {2}


async def test_of_two_rows_that_fit_one_run_neither_is_finished_whatever_page_they_are_on() -> None:
    store = MemoryStore([row(id_, run_id=None, workflow_id="one") for id_ in (1, 2)])
    store.running[3] = row(3, run_id=None)

    for dry_run in (True, False):
        report = await reconcile(store, scripted(closed()), batch_size=1, dry_run=dry_run)

        assert report.outcome is PassOutcome.UNRESOLVED
        assert (report.changed, report.unknown) == (1, 2)
    assert store.finished.keys() == {3}


async def test_visibility_is_asked_once_per_page_and_only_if_no_other_row_has_a_claim() -> None:
    contested = [row(id_, run_id=None, workflow_id="one") for id_ in (1, 2)]
    alone = [row(id_, run_id=None) for id_ in (3, 4)]
    probe = scripted(closed())
    probe.uses = {"wf-3": [Use("another", NOW, None)]}
    store = MemoryStore([*contested, *alone, row(5)])

    report = await reconcile(store, probe)

    assert probe.listed == ["wf-3", "wf-4"]
    assert store.finished.keys() == {4, 5}
    assert report.unknown == 3


async def test_a_run_goes_to_the_row_that_has_its_id() -> None:
    mine, theirs = (row(id_, workflow_id="one", run_id=None) for id_ in (1, 2))
    store = MemoryStore([mine, replace(theirs, run_id="run-first")])

    for dry_run in (True, False):
        report = await reconcile(store, scripted(closed()), FAIL, dry_run=dry_run)

        assert (report.outcome, report.changed) == (PassOutcome.OK, 1)
        assert report.tally.left == {"never_started": 1}
    assert store.finished.keys() == {2}


async def test_rows_without_a_run_id_are_left_if_the_rivals_cannot_be_read() -> None:
    class Slow(MemoryStore):
        async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
            return Unknown("too slow")

    store = Slow([row(1), row(2, run_id=None)])

    report = await reconcile(store, scripted(closed()))

    assert store.finished.keys() == {1}
    assert report.unknown == 1
