"""The index, the statuses and the ages of rows: which measurements are a warning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.model import Closed, CloseStatus, Missing, Observation, Open, Unknown
from reconciler.core.window import AgeSpread
from reconciler.doctor.findings import Level
from reconciler.doctor.rules.table import index, lookup, oldest_row
from reconciler.postgres.connection.explain import find_scans
from reconciler.postgres.diagnose.read_plan import IndexState, ReadPlan
from tests.support.factories import NOW

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def ended(before: timedelta) -> Closed:
    return Closed(CloseStatus.FAILED, NOW - before, "run", "boom")


@pytest.mark.parametrize(
    ("age", "oldest", "level", "text"),
    [
        pytest.param(19 * HOUR, [], Level.OK, "the oldest 19 h old", id="young"),
        pytest.param(19.2 * HOUR, [Open()], Level.OK, "the oldest is open", id="open"),
        pytest.param(
            19.2 * HOUR, [ended(19 * HOUR)], Level.WARNING, "forgets how in 5 h", id="ended"
        ),
        pytest.param(
            48 * HOUR, [ended(25 * HOUR)], Level.WARNING, "forgets how in 0 s", id="any moment"
        ),
        pytest.param(
            48 * HOUR, [Open(), Open()], Level.OK, "the oldest 2 are open", id="old and open"
        ),
        pytest.param(
            48 * HOUR, [Missing(), Open()], Level.WARNING, "1 not in Temporal", id="missing"
        ),
        pytest.param(
            48 * HOUR, [Unknown("odd")], Level.WARNING, "1 cannot be judged", id="unknown"
        ),
    ],
)
def test_old_rows_are_a_warning_unless_their_workflow_is_open(
    age: timedelta, oldest: list[Observation], level: Level, text: str
) -> None:
    running = AgeSpread(3, NOW - age, NOW)

    finding = oldest_row(running, NOW, DAY, [(each, DAY) for each in oldest])

    assert finding.level is level
    assert text in finding.message
    assert bool(finding.fix) is (level is Level.WARNING)


def test_all_problems_of_old_rows_are_reported_at_once() -> None:
    observations: list[Observation] = [ended(HOUR), ended(20 * HOUR), Missing(), Open()]

    near = [(each, DAY) for each in observations]
    finding = oldest_row(AgeSpread(4, NOW - 30 * DAY, NOW), NOW, DAY, near)

    assert finding.message == (
        "4 running rows, the oldest 30 d old, retention 24 h; of the oldest 4, "
        "2 ended, and Temporal forgets how in 4 h, "
        "1 not in Temporal: never started, deleted or past the retention"
    )
    assert "reconciler once" in finding.fix
    assert "reconciler backfill" in finding.fix


def test_each_row_counts_by_the_retention_of_its_namespace() -> None:
    near = [(ended(20 * HOUR), 2 * DAY), (ended(23 * HOUR), DAY), (ended(DAY), 9 * DAY)]

    finding = oldest_row(AgeSpread(4, NOW - 30 * DAY, NOW), NOW, None, near)

    assert finding.message == (
        "4 running rows, the oldest 30 d old, in several namespaces; of the oldest 3, "
        "3 ended, and Temporal forgets how in 60 min"
    )


def test_rows_without_a_creation_time_are_reported() -> None:
    finding = oldest_row(AgeSpread(2), NOW, DAY, [])

    assert finding.level is Level.OK
    assert finding.message == "2 running rows, none of them with a creation time"


def test_no_running_rows_is_ok() -> None:
    assert oldest_row(AgeSpread(), NOW, DAY, []).level is Level.OK


@pytest.mark.parametrize(
    ("state", "served", "servable", "level", "fix"),
    [
        (IndexState.THERE, True, True, Level.OK, ""),
        (IndexState.MISSING, True, True, Level.OK, ""),  # one of the application's own
        (IndexState.THERE, False, True, Level.OK, ""),  # a small table
        (IndexState.MISSING, False, False, Level.WARNING, "reconciler migrate"),
        (IndexState.BROKEN, False, False, Level.WARNING, "rebuilds"),
        (IndexState.THERE, False, False, Level.WARNING, "CREATE INDEX"),
    ],
)
def test_an_index_is_a_warning_only_where_no_plan_uses_one(
    state: IndexState, served: bool, servable: bool, level: Level, fix: str
) -> None:
    plan = ReadPlan(state, "Seq Scan", served, servable, "ours")

    finding = index(plan, "CREATE INDEX …")

    assert finding.level is level
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("state", "servable", "text", "fix"),
    [
        (IndexState.MISSING, True, None, ""),
        (
            IndexState.MISSING,
            False,
            "the index is missing (theirs is for",
            "run `reconciler migrate`",
        ),
        (IndexState.BROKEN, False, "ours is invalid: each look-up", "which rebuilds it"),
        (IndexState.THERE, False, "the planner uses no index: each look-up", "run ANALYZE"),
    ],
)
def test_an_index_for_lookups_is_mentioned_only_if_no_plan_uses_one(
    state: IndexState, servable: bool, text: str | None, fix: str
) -> None:
    plan = ReadPlan(state, "Seq Scan", servable, servable, "ours", ("theirs",))

    found = lookup(plan)

    assert [each.level for each in found] == [Level.WARNING] * (text is not None)
    for each in found:
        assert (text or "") in each.message
        assert fix in each.fix


def test_scans_are_found_wherever_they_are_in_a_plan() -> None:
    bitmap = {
        "Node Type": "Bitmap Heap Scan",
        "Relation Name": "a",
        "Plans": [{"Node Type": "Bitmap Index Scan", "Index Name": "i"}],
    }
    whole = {"Node Type": "Seq Scan", "Relation Name": "b"}
    plan = {"Node Type": "Limit", "Plans": [{"Node Type": "Append", "Plans": [bitmap, whole]}]}

    assert list(find_scans(plan)) == [("Bitmap Index Scan", "i"), ("Seq Scan", None)]


def test_a_retention_longer_than_the_calendar_does_not_overflow() -> None:
    near: list[tuple[Observation, timedelta]] = [(ended(HOUR), 3_000_000 * DAY)]

    assert "1 ended" in oldest_row(AgeSpread(1, NOW - DAY, NOW), NOW, DAY, near).message
