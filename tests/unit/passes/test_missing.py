"""Rows that Temporal does not know: left or failed, and held back by the breaker."""

from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.core.model import Missing, Open
from reconciler.core.report.pass_report import PassOutcome
from tests.support.factories import NOW, closed, row
from tests.support.fakes import MemoryStore
from tests.support.passes.bench import FAIL, accounted_for, in_turn, reconcile, rows, scripted


async def test_missing_rows_that_are_left_by_policy_do_not_make_the_pass_unresolved() -> None:
    report = await reconcile(MemoryStore(rows(30)), scripted(Missing()))

    assert report.tally.left == {"deleted": 30}
    assert report.outcome is PassOutcome.OK


async def test_missing_rows_are_failed_if_they_are_few() -> None:
    store = MemoryStore(rows(30))
    probe = scripted(Open(), wf_1=Missing(), wf_2=Missing())

    report = await reconcile(store, probe, FAIL)

    assert report.tally.written == {"failed": 2}
    assert report.outcome is PassOutcome.OK


async def test_missing_rows_are_held_back_by_the_breaker_if_they_are_most() -> None:
    store = MemoryStore([*rows(30), row(31, age=timedelta(days=2))])
    probe = scripted(Missing(), wf_1=closed())

    report = await reconcile(store, probe, FAIL, batch_size=10)

    assert list(store.finished) == [1], "what Temporal did say is written all the same"
    assert report.tally.left == {"deleted": 29, "expired": 1}
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_rows_that_are_too_young_do_not_trip_the_breaker() -> None:
    young = [row(number, age=timedelta(seconds=1)) for number in range(1, 30)]
    store = MemoryStore([*young, row(30)])

    report = await reconcile(store, scripted(Missing()), FAIL)

    assert report.tally.written == {"failed": 1}


async def test_rows_without_a_workflow_id_do_not_count_for_the_breaker() -> None:
    unstarted = [row(number, workflow_id="", age=timedelta(days=9)) for number in range(31, 91)]
    probe = scripted(Missing(), **{f"wf_{number}": Open() for number in range(1, 11)})

    report = await reconcile(MemoryStore([*rows(30), *unstarted]), probe, FAIL)

    assert (report.changed, report.held_back) == (0, 20), "20 of 30 are most"
    assert report.tally.left == {"open": 10, "deleted": 20, "no_workflow_id": 60}
    assert report.tally.oldest_left == row(1).created_at


async def test_rows_without_a_workflow_id_are_left_without_a_word() -> None:
    store = MemoryStore([row(number, workflow_id="", age=timedelta(9)) for number in range(1, 40)])
    probe = scripted(Missing())

    with capture_logs() as lines:
        report = await reconcile(store, probe, FAIL)

    assert probe.asked == []
    assert report.tally.left == {"no_workflow_id": 39}
    assert (report.outcome, report.tally.oldest_left) == (PassOutcome.OK, None)
    assert not [line for line in lines if line["log_level"] == "warning"]


async def test_missing_rows_are_asked_about_once_more_before_they_are_failed() -> None:
    store = MemoryStore(rows(2))

    report = await reconcile(store, scripted(closed(), wf_1=in_turn(Missing(), Open())), FAIL)

    assert report.tally.left == {"open": 1}
    assert list(store.finished) == [2]


async def test_the_breaker_counts_over_all_pages() -> None:
    first_ten = {f"wf_{number}": Missing() for number in range(1, 11)}
    others_missing = scripted(Missing(), **{f"wf_{number}": Open() for number in range(1, 11)})

    few = await reconcile(MemoryStore(rows(30)), scripted(Open(), **first_ten), FAIL, batch_size=10)
    most = await reconcile(MemoryStore(rows(30)), others_missing, FAIL, batch_size=10)

    assert few.tally.written == {"failed": 10}, "a page of missing rows is few among three"
    assert (most.changed, most.held_back) == (0, 20), "two pages are most of three"


async def test_rows_that_are_held_back_are_counted_and_not_asked_about_again() -> None:
    in_use = Missing(id_in_use=True)
    old = [row(31, age=timedelta(days=3)), row(32, age=timedelta(days=2))]
    store, probe = MemoryStore([*rows(30), *old]), scripted(Missing(), wf_29=in_use, wf_30=Open())

    with capture_logs() as lines:
        report = await reconcile(store, probe, FAIL, batch_size=10)

    assert report.held_back == 30, "and one is left whatever the policy says"
    assert report.tally.left == {"deleted": 29, "expired": 2, "open": 1}
    assert report.tally.oldest_left == NOW - timedelta(days=3)
    assert report.tally.scanned == accounted_for(report) == len(probe.asked) == 32
    assert not report.more_left, "the next pass decides again"
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert (line["missing"], line["scanned"], line["held_back"]) == (31, 32, 30)


async def test_the_oldest_row_left_may_be_one_that_is_not_held_back() -> None:
    store = MemoryStore([*rows(30), row(31, age=timedelta(days=3))])

    report = await reconcile(store, scripted(Missing(), wf_31=Open()), FAIL)

    assert report.held_back == 30
    assert report.tally.oldest_left == NOW - timedelta(days=3)


@pytest.mark.parametrize("batch_size", [4, 100])
async def test_a_dry_run_counts_missing_rows_it_would_fail(batch_size: int) -> None:
    store = MemoryStore([*rows(8), row(9, age=timedelta(days=2))])
    probe = scripted(Open(), wf_1=Missing(), wf_8=Missing(), wf_9=Missing(), wf_2=closed())

    report = await reconcile(store, probe, FAIL, dry_run=True, batch_size=batch_size)

    assert report.tally.written == {"completed": 1, "failed": 3}
    assert +report.tally.left == {"open": 5}
    assert report.tally.scanned == accounted_for(report) == len(probe.asked) == 9
    assert (report.more_left, report.outcome) == (False, PassOutcome.OK)
    assert not store.finished


async def test_a_dry_run_does_not_count_missing_rows_that_the_breaker_would_hold_back() -> None:
    report = await reconcile(
        MemoryStore(rows(30)), scripted(Missing(), wf_1=closed()), FAIL, dry_run=True
    )

    assert report.tally.written == {"completed": 1}
    assert (report.held_back, report.tally.left) == (29, {"deleted": 29})
    assert report.outcome is PassOutcome.UNRESOLVED
