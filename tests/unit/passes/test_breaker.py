"""When missing rows are held back because the namespace may be the wrong one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.model import Closed, CloseStatus, Missing, Observation, Open, RunRow, Unknown
from reconciler.core.report.pass_report import PassOutcome
from reconciler.passes.breaker import MIN_ROWS, too_many_missing
from tests.support.factories import CLOSE_TIME, policy, row
from tests.support.fakes import FakeHistory, MemoryStore
from tests.support.passes.bench import FAIL, reconcile, resumable, rows, scripted

NOTHING_FOUND = frozenset[str]()


@pytest.mark.parametrize(
    ("missing", "scanned", "ratio", "trips"),
    [
        pytest.param(MIN_ROWS, MIN_ROWS, 0.5, True, id="all of just enough rows"),
        pytest.param(19, 19, 0.5, False, id="all, but too few rows"),
        pytest.param(50, 100, 0.5, False, id="exactly the ratio"),
        pytest.param(51, 100, 0.5, True, id="one more than the ratio"),
        pytest.param(100, 100, 1.0, False, id="ratio 1 switches it off"),
        pytest.param(1, 100, 0.0, True, id="ratio 0 allows none"),
        pytest.param(0, 100, 0.0, False, id="none missing"),
    ],
)
def test_the_share_of_missing_rows(missing: int, scanned: int, ratio: float, trips: bool) -> None:
    assert too_many_missing(missing, scanned, policy(max_missing_ratio=ratio)) is trips


def history(found: frozenset[str] = NOTHING_FOUND) -> FakeHistory:
    return FakeHistory(found=found)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_few_missing_rows_are_held_back_if_nothing_was_ever_found(*, dry_run: bool) -> None:
    store = MemoryStore(rows(MIN_ROWS - 1))

    report = await reconcile(store, scripted(Missing()), FAIL, history=history(), dry_run=dry_run)

    assert (report.outcome, report.held_back) == (PassOutcome.UNRESOLVED, MIN_ROWS - 1)
    assert report.tally.left == {"deleted": MIN_ROWS - 1}
    assert not store.finished


@pytest.mark.parametrize(
    "found", [Open(), Closed(CloseStatus.COMPLETED, CLOSE_TIME, "run-last")], ids=["open", "closed"]
)
async def test_one_workflow_that_is_found_shows_that_the_namespace_is_right(
    found: Observation,
) -> None:
    store = MemoryStore(rows(4))

    report = await reconcile(store, scripted(Missing(), wf_4=found), FAIL, history=history())

    assert report.held_back == 0
    assert set(store.finished) >= {1, 2, 3}


@pytest.mark.parametrize("other", [Unknown("?"), Missing("in use", id_in_use=True)])
async def test_anything_else_does_not(other: Observation) -> None:
    store = MemoryStore(rows(4))

    report = await reconcile(store, scripted(Missing(), wf_4=other), FAIL, history=history())

    assert report.held_back == 3


@pytest.mark.parametrize(
    ("found", "held_back"), [("id of ns", 0), ("id of a namespace of that name before", 2)]
)
async def test_an_earlier_pass_may_have_found_one_in_this_very_namespace(
    found: str, held_back: int
) -> None:
    earlier = history(frozenset({found}))

    report = await reconcile(MemoryStore(rows(2)), scripted(Missing()), FAIL, history=earlier)

    assert report.held_back == held_back


@pytest.mark.parametrize(("space", "held_back"), [("blue", 0), ("green", 2)])
async def test_it_has_to_be_found_in_the_namespace_of_the_missing_rows(
    space: str, held_back: int
) -> None:
    found: RunRow = row(3, namespace="blue")
    store = MemoryStore([*(replace(each, namespace=space) for each in rows(2)), found])

    report = await reconcile(store, scripted(Missing(), wf_3=Open()), FAIL, history=history())

    assert report.held_back == held_back


async def test_a_ratio_of_one_switches_it_off() -> None:
    rules = replace(FAIL, max_missing_ratio=1.0)

    report = await reconcile(MemoryStore(rows(2)), scripted(Missing()), rules, history=history())

    assert (report.held_back, report.changed) == (0, 2)


async def test_what_an_earlier_process_has_found_counts_in_a_pass_that_is_resumed() -> None:
    report = resumable()
    report.found_in.add("id of ns")

    await reconcile(
        MemoryStore(rows(2)), scripted(Missing()), FAIL, history=history(), report=report
    )

    assert report.held_back == 0
