"""Who else runs passes over the table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from reconciler.doctor.findings import Finding, Level
from reconciler.doctor.rules import other_passes
from reconciler.postgres.journal.entries import StoredPass
from reconciler.postgres.journal.lease import HeldLease
from tests.support.factories import NOW

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def stored(
    mode: str = "run", host: str = "web-1", ago: timedelta = SECOND, **of: Any
) -> StoredPass:
    given = {
        "id": uuid4(),
        "mode": mode,
        "table": "orders",
        "namespace": "default",
        "started_at": NOW - ago,
        "finished_at": NOW - ago,
        "outcome": "ok",
        "error": None,
        "host": host,
        "version": "1",
        "asked": None,
        "report": {},
    }
    return StoredPass(**{**given, **of})


def passes(*given: StoredPass) -> Finding:
    return other_passes.passes(given, "orders", "default", NOW)


@pytest.mark.parametrize(
    ("name", "namespace", "level", "text"),
    [
        ("orders", "default", Level.OK, "held by web-1/7/ab for a loop; another loop would"),
        ("orders (backfill)", "default", Level.OK, "held by web-1/7/ab for a backfill"),
        ("orders", "staging", Level.WARNING, "in namespace 'staging' (web-1/7/ab)"),
        ("orders_old", "staging", Level.OK, "free"),
        ("orders_old (backfill)", "default", Level.OK, "free"),
    ],
)
def test_the_holder_of_the_lease_is_named(
    name: str, namespace: str, level: Level, text: str
) -> None:
    finding = other_passes.lease([HeldLease(name, namespace, "web-1/7/ab")], "orders", "default")

    assert finding.level is level
    assert text in finding.message


@pytest.mark.parametrize(
    ("ours", "theirs", "text", "fix"),
    [
        (
            "*",
            "default",
            "in namespace 'default' (web-1): there rows that name another",
            "set RECONCILER_COLUMNS__NAMESPACE there",
        ),
        (
            "default",
            "*",
            "in each row's own namespace (web-1): here rows that name another",
            "set RECONCILER_COLUMNS__NAMESPACE here",
        ),
        (
            "default",
            "staging",
            "in namespace 'staging' (web-1): each finds the rows of the other missing",
            "check TEMPORAL_NAMESPACE",
        ),
    ],
)
def test_passes_over_the_same_rows_in_another_namespace_are_a_warning(
    ours: str, theirs: str, text: str, fix: str
) -> None:
    finding = other_passes.lease([HeldLease("orders", theirs, "web-1")], "orders", ours)

    assert finding.level is Level.WARNING
    assert text in finding.message
    assert finding.fix.startswith(fix)
    assert other_passes.passes([stored(namespace=theirs)], "orders", ours, NOW).fix == finding.fix
    held, noted = HeldLease("orders", theirs, "web-1"), stored(namespace=theirs)
    for worse in (
        other_passes.lease([held], "orders", ours, fails=True),
        other_passes.passes([noted], "orders", ours, NOW, fails=True),
    ):
        assert worse.level is Level.FAILURE
        assert "with RECONCILER_MISSING=fail they are failed" in worse.message
        assert "divide the rows with RECONCILER_WHERE" in str(worse.fix)


def test_others_that_use_the_rows_own_namespaces_too_are_ok() -> None:
    assert other_passes.lease([HeldLease("orders", "*", "web-1")], "orders", "*").level is Level.OK
    finding = other_passes.passes([stored(namespace="*")], "orders", "*", NOW)
    assert finding.message == "the last pass (run on web-1) ended 1 s ago, ok"


def test_no_pass_yet_is_ok() -> None:
    assert passes().level is Level.OK
    assert passes(stored(finished_at=None, outcome=None)).message.startswith("no pass")
    assert passes(stored("backfill")).message.startswith("no pass"), "not over every row"


def test_the_last_pass_is_reported() -> None:
    finding = passes(stored(finished_at=None), stored(ago=5 * SECOND), stored(ago=HOUR))

    assert finding.level is Level.OK
    assert finding.message == "the last pass (run on web-1) ended 5 s ago, ok"


def test_a_last_pass_that_was_aborted_is_a_warning_with_its_reason() -> None:
    error = "no table orders: set RECONCILER_TABLE"

    finding = passes(stored(outcome="aborted", error=error), stored(ago=HOUR))

    assert finding.level is Level.WARNING
    assert finding.message.endswith(f"aborted: {error}")
    assert finding.fix == "see its log"


def test_an_aborted_pass_is_ok_once_a_later_one_has_ended() -> None:
    assert (
        passes(stored(), stored(outcome="aborted", error="unreachable", ago=HOUR)).level is Level.OK
    )


@pytest.mark.parametrize(
    ("other", "level"),
    [
        (stored(namespace="staging", ago=HOUR), Level.WARNING),
        (stored(namespace="staging", ago=2 * DAY), Level.OK),
        (stored(namespace="staging", table="customers"), Level.OK),
        (stored(namespace=None), Level.OK),
    ],
    ids=["today", "long ago", "another table", "recorded without a namespace"],
)
def test_only_recent_passes_in_another_namespace_are_a_warning(
    other: StoredPass, level: Level
) -> None:
    assert passes(stored(), other).level is level


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ([stored("run"), stored("run", "web-2")] * 3, Level.OK),
        ([stored("once", "cron")] * 3, Level.OK),
        ([stored("run")] * 3 + [stored("once", "laptop")], Level.OK),
        ([stored("run"), stored("once", "cron")] * 2, Level.WARNING),
        (([stored("run")] * 9 + [stored("once", "cron")]) * 2, Level.WARNING),
        ([stored("run"), stored("run", "web-2"), stored("once", "cron")] * 2, Level.WARNING),
        ([stored("once", "cron")] * 2 + [stored("run")] * 3, Level.OK),
        ([stored("run")] * 3 + [stored("once", "cron")] * 2 + [stored("run")] * 3, Level.OK),
        ([stored("once", "cron-1"), stored("once", "cron-2")] * 2, Level.WARNING),
        ([stored("once", "cron-1")] * 2 + [stored("once", "cron-2")] * 2, Level.OK),
        ([stored("run"), stored("backfill")] * 3, Level.OK),
        ([stored("once", f"cron-{n}") for n in range(9)], Level.OK),
        ([stored("run")] * 3 + [stored("once", "cron", ago=2 * HOUR)] * 2, Level.OK),
    ],
    ids=[
        "replicas of a loop",
        "a timer",
        "a loop, and once by hand",
        "a loop and a timer",
        "a loop and a rare timer",
        "replicas of a loop and a timer",
        "a loop that was stopped, then once by hand",
        "by hand while the loop was stopped",
        "timers on two hosts",
        "a timer that has moved to another host",
        "a loop and backfills",
        "a CronJob, whose pods have names of their own",
        "a timer that no longer runs",
    ],
)
def test_the_same_work_done_twice_is_a_warning(given: list[StoredPass], level: Level) -> None:
    finding = passes(*given)

    assert finding.level is level
    assert ("twice" in finding.message) is (level is Level.WARNING)
