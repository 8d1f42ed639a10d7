"""What is removed from the history and the journal, and what is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
from reconciler.postgres.journal import prune as module
from reconciler.postgres.journal.prune import KEEP, Pruning
from tests.conftest import Database
from tests.support.stuck import Entries, row_at_risk, stuck_row
from tests.support.tables.past import DAY, OURS, change, kept, pass_over

JOURNAL = timedelta(days=90)
OTHERS = [("other", "default"), ("workflow_executions", "other")]


def pruning(database: Database, of: tuple[str, str] = OURS) -> Pruning:
    return Pruning(database.engine, *of, journal=JOURNAL)


async def resumable(database: Database, pass_id: str) -> None:
    await database.execute(
        "UPDATE reconciler.passes SET cursor = '{}' WHERE id = $1", UUID(pass_id)
    )


async def changes_of(database: Database) -> dict[str, int]:
    rows = await database.fetch("SELECT pass_id, count(*) AS n FROM reconciler.changes GROUP BY 1")
    return {str(row["pass_id"]): int(str(row["n"])) for row in rows}


def a_pass(*, age: timedelta = timedelta(), dry_run: bool = False) -> PassReport:
    return PassReport(str(uuid4()), PassRequest("run", dry_run), started_at=now() - age)


def now() -> datetime:
    return datetime.now(UTC)


async def test_passes_that_changed_nothing_go_after_a_week(database: Database) -> None:
    await pass_over(database, age=KEEP + DAY)
    recent = await pass_over(database, age=KEEP - DAY)

    assert await pruning(database).prune() == 1
    assert await kept(database) == {recent}


async def test_passes_that_changed_something_go_with_their_changes_after_the_retention(
    database: Database,
) -> None:
    expired = await pass_over(database, age=JOURNAL + DAY)
    recent = await pass_over(database, age=JOURNAL - DAY)
    await change(database, expired, 3)
    await change(database, recent, 2)

    assert await pruning(database).prune() == 3 + 1
    assert await kept(database) == {recent}
    assert await changes_of(database) == {recent: 2}


async def test_a_pass_that_can_be_gone_on_with_is_kept_until_the_retention(
    database: Database,
) -> None:
    expired = await pass_over(database, age=JOURNAL + DAY)
    recent = await pass_over(database, age=JOURNAL - DAY)
    await resumable(database, expired)
    await resumable(database, recent)

    assert await pruning(database).prune() == 1
    assert await kept(database) == {recent}


@pytest.mark.parametrize("age", [KEEP + DAY, JOURNAL + DAY], ids=["unchanged", "changed"])
async def test_a_pass_by_a_clock_that_is_days_behind_is_not_taken_for_an_old_one(
    database: Database, age: timedelta
) -> None:
    report = a_pass(age=age)
    await database.history().begin(report)
    await database.history().end(report)
    if age > JOURNAL:
        await change(database, report.pass_id)

    assert await pruning(database).prune() == 0
    assert await database.history().heartbeat() is not None


async def test_a_pass_by_a_clock_that_is_days_ahead_is_not_removed_before_its_time(
    database: Database,
) -> None:
    ahead = await pass_over(database, age=-2 * DAY)
    await database.execute("UPDATE reconciler.passes SET finished_at = now() - interval '99 days'")

    assert await pruning(database).prune() == 0
    assert await kept(database) == {ahead}


@pytest.mark.parametrize("changes", [0, 2])
async def test_a_pass_that_was_killed_long_ago_is_removed(database: Database, changes: int) -> None:
    killed = await pass_over(database, age=JOURNAL + DAY)
    await change(database, killed, changes)
    await database.execute("UPDATE reconciler.passes SET finished_at = NULL")

    assert await pruning(database).prune() == changes + 1


@pytest.mark.parametrize("changes", [0, 1])
async def test_those_of_other_tables_and_namespaces_are_left_alone(
    database: Database, changes: int
) -> None:
    theirs = {await pass_over(database, age=JOURNAL + DAY, of=of) for of in OTHERS}
    ours = await pass_over(database, age=JOURNAL + DAY)
    for pass_id in (*theirs, ours):
        await change(database, pass_id, changes)

    assert await pruning(database).prune() == 1 + changes
    assert await kept(database) == theirs
    assert sum((await changes_of(database)).values()) == len(theirs) * changes


@pytest.mark.parametrize("how", ["good", "failed", "dry run"])
async def test_nothing_is_removed_after_a_pass_that_failed_or_was_a_dry_run(
    database: Database, how: str
) -> None:
    old = await pass_over(database, age=KEEP + DAY)
    report = a_pass(dry_run=how == "dry run")
    report.error = "Temporal is unreachable" if how == "failed" else None

    await pruning(database).on_pass(report)

    assert await kept(database) == (set() if how == "good" else {old})


async def test_a_history_that_cannot_be_pruned_makes_no_good_pass_a_bad_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = pruning(database)

    async def fail() -> int:
        raise DatabaseUnusable("lock timeout")

    monkeypatch.setattr(pruned, "prune", fail)
    report = a_pass()
    await pruned.on_pass(report)

    assert report.error is None


async def test_pruning_is_looked_after_once_an_hour(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, asked = pruning(database), 0

    async def prune() -> int:
        nonlocal asked
        asked += 1
        return 0

    monkeypatch.setattr(pruned, "prune", prune)
    for _ in range(3):
        await pruned.on_pass(a_pass())

    assert asked == 1


async def test_however_many_there_are_they_are_removed_batch_by_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_BATCH", 2)
    for _ in range(3):
        await pass_over(database, age=KEEP + DAY)
    await change(database, await pass_over(database, age=JOURNAL + DAY), 5)

    assert await pruning(database).prune() == 3 + 5 + 1
    assert await kept(database) == set()
    assert await changes_of(database) == {}


async def test_one_turn_removes_so_much_and_the_next_one_the_rest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_BATCH", 2)
    monkeypatch.setattr(module, "PRUNE_AT_MOST", 4)
    old = await pass_over(database, age=JOURNAL + DAY)
    await change(database, old, 7)

    assert await pruning(database).prune() == 4
    assert await changes_of(database) == {old: 3}, "and the pass stays as long as they do"
    assert await pruning(database).prune() == 3 + 1
    assert await kept(database) == set()


async def test_a_pass_that_has_lost_some_of_its_changes_cannot_be_resumed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has written is counted in the journal."""
    monkeypatch.setattr(module, "PRUNE_BATCH", 2)
    monkeypatch.setattr(module, "PRUNE_AT_MOST", 4)
    old = await pass_over(database, age=JOURNAL + DAY, mode="backfill")
    recent = await pass_over(database, age=JOURNAL - DAY, mode="backfill")
    for pass_id in (old, recent):
        await change(database, pass_id, 7)
        await resumable(database, pass_id)

    await pruning(database).prune()

    assert await changes_of(database) == {old: 3, recent: 7}
    rows = await database.fetch("SELECT id FROM reconciler.passes WHERE cursor IS NOT NULL")
    assert [str(row["id"]) for row in rows] == [recent]


async def test_a_pass_that_is_under_way_stays_with_its_changes_however_old(
    database: Database,
) -> None:
    """Begun long ago, or by a host whose clock is off; and recorded something just now."""
    request = PassRequest("backfill", asked={})
    report = PassReport(str(uuid4()), request, started_at=now() - 2 * JOURNAL)
    report.progress = Progress(Span(None, 9))
    await database.history().begin(report)
    await change(database, report.pass_id)

    assert await pruning(database).prune() == 0
    assert await kept(database) == {report.pass_id}


async def test_a_pass_that_nobody_has_been_at_for_long_goes(database: Database) -> None:
    left = await pass_over(database, age=2 * JOURNAL)
    await change(database, left)
    await database.execute(
        "UPDATE reconciler.passes SET finished_at = NULL, cursor = jsonb_build_object('noted_at',"
        " now() - interval '100 days') WHERE id = $1",
        UUID(left),
    )

    assert await pruning(database).prune() == 2


async def test_entries_of_settings_that_are_used_no_more_go_after_the_retention(
    database: Database,
) -> None:
    """One that was not looked at lately stays, if passes still look at others."""
    table = await database.table()
    ours, abandoned = Entries(database, table), Entries(database, table, "abandoned")
    long_ago = now() - JOURNAL - DAY
    for each, seen in ((ours, now()), (abandoned, long_ago + 2 * DAY)):
        await each.record(
            [stuck_row(1, seen=long_ago), stuck_row(2, seen=seen)], [row_at_risk(3, seen=seen)], []
        )

    assert await pruning(database).prune() == 0
    await abandoned.record([stuck_row(2, seen=long_ago)], [row_at_risk(3, seen=long_ago)], [])
    assert await pruning(database).prune() == 3

    assert await abandoned.is_empty()
    assert len((await ours.known([1, 2, 3])).stuck) == 2
